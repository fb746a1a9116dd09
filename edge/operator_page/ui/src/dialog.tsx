// A dialog over the page: the browser keeps the focus inside, gives it back, and closes it by Escape.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface Props {
  title: string;
  wide?: boolean;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, wide = false, onClose, children }: Props) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    box.current?.showModal();
  }, []);
  const outside = (event: MouseEvent) => {
    if (event.target === box.current) box.current?.close();
  };
  return (
    <dialog ref={box} class={wide ? "wide" : ""} aria-labelledby="dialog-title" onClose={onClose} onClick={outside}>
      <div class="dialog">
        <header>
          <h2 id="dialog-title">{title}</h2>
          <button class="close" aria-label="Close" onClick={() => box.current?.close()}>
            <svg viewBox="0 0 24 24" aria-hidden="true">
              <path d="m6 4.3 6 6 6-6L19.7 6l-6 6 6 6-1.7 1.7-6-6-6 6L4.3 18l6-6-6-6Z" />
            </svg>
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
