// A list that stands still while it is touched, or while somebody looks at what lies further back: what comes newly would
// move what is under the finger.
import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { PartView } from "./api";

const LIFTED = ["pointerup", "pointercancel"] as const;
const CLICK_MS = 300; // in which a finger that was lifted is told as a click

interface Still {
  list: RefObject<HTMLUListElement>;
  shown: readonly PartView[];
  newer: number;
  touched: () => void;
  scrolled: () => void;
  release: () => void;
}

export function useStill(parts: readonly PartView[]): Still {
  const list = useRef<HTMLUListElement>(null);
  const [held, setHeld] = useState<readonly PartView[] | null>(null);
  const [down, setDown] = useState(false);
  const hold = () => setHeld((was) => was ?? parts);
  const isAway = () => (list.current?.scrollLeft ?? 0) > 0;
  useEffect(() => {
    if (!down) return;
    const lifted = () =>
      setTimeout(() => {
        setDown(false);
        if (!isAway()) setHeld(null);
      }, CLICK_MS);
    for (const name of LIFTED) addEventListener(name, lifted);
    return () => LIFTED.forEach((name) => removeEventListener(name, lifted));
  }, [down]);
  const first = held?.[0];
  const at = first ? parts.findIndex((part) => part.result_id === first.result_id) : 0;
  return {
    list,
    shown: held?.map((one) => parts.find((part) => part.result_id === one.result_id) ?? one) ?? parts,
    newer: at < 0 ? parts.length : at,
    touched() {
      setDown(true);
      hold();
    },
    scrolled() {
      if (isAway()) hold();
      else if (!down) setHeld(null);
    },
    release() {
      list.current?.scrollTo({ left: 0 });
      setHeld(null);
    },
  };
}
