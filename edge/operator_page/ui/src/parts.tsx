// The newest part, and the strip of the last rejects.
import { useRef, useState } from "preact/hooks";
import type { PartView, StationView } from "./api";
import { clock, count, pictureOf, span } from "./format";
import { now } from "./live";
import { KindMark, kindWord, REALLY } from "./shapes";
import { useStill } from "./still";

interface PictureProps {
  part: PartView;
  alt: string;
  class?: string;
  onGone?: () => void; // where there is none, or no more
}

export function Picture({ part, alt, class: name = "", onGone }: PictureProps) {
  const [gone, setGone] = useState("");
  if (!part.picture || gone === part.result_id) {
    return (
      <span class={`picture none ${name}`}>
        <span>no picture</span>
      </span>
    );
  }
  return (
    <span class={`picture ${name}`}>
      <img
        src={pictureOf(part.result_id)}
        alt={alt}
        draggable={false}
        onError={() => {
          setGone(part.result_id);
          onGone?.();
        }}
      />
    </span>
  );
}

export function Newest({ part, onOpen }: { part: PartView | null; onOpen: (id: string) => void }) {
  const touched = useRef(""); // what was seen when the finger came down; another one may have passed since
  if (!part) return <div class="newest empty">No part has passed since this page began.</div>;
  return (
    <button
      class={`newest ${part.kind}`}
      aria-haspopup="dialog"
      onPointerDown={() => (touched.current = part.result_id)}
      onClick={(event) => onOpen(event.detail === 0 ? part.result_id : touched.current || part.result_id)}
    >
      <Picture part={part} alt="" />
      <span class="caption">
        <span class={`verdict ${part.kind}`}>
          <KindMark kind={part.kind} />
          {kindWord(part.kind)}
        </span>
        <span class="what">{part.label || "no label"}</span>
        <span class="score">{part.score.toFixed(2)}</span>
      </span>
      <span class="sub">
        <span>{part.part ? `Part ${part.part}` : "Newest part"}</span>
        <span>{now.value - part.time_ms < 1500 ? "now" : `${span(now.value - part.time_ms)} ago`}</span>
      </span>
    </button>
  );
}

export function Strip({ station, onOpen }: { station: StationView; onOpen: (id: string) => void }) {
  const { list, shown: parts, newer, touched, scrolled, release } = useStill(station.rejects);
  return (
    <section class="strip" aria-labelledby="strip-title">
      <header>
        <h2 id="strip-title">Last rejects</h2>
        {newer > 0 && (
          <button class="newer" onClick={release}>
            {count(newer)} newer
          </button>
        )}
      </header>
      {parts.length === 0 ? (
        <p class="empty">No part was rejected yet.</p>
      ) : (
        <ul ref={list} onPointerDown={touched} onScroll={scrolled}>
          {parts.map((part) => (
            <li key={part.result_id}>
              <button class="part" aria-haspopup="dialog" onClick={() => onOpen(part.result_id)}>
                <Picture part={part} alt="" />
                <span class="what">{part.label || "no label"}</span>
                <span class="sub">
                  <span>{part.score.toFixed(2)}</span>
                  <span>{part.part && `#${part.part}`}</span>
                </span>
                <span class="sub">
                  <time>{clock(part.time_ms)}</time>
                </span>
                {part.really && <span class={`said ${part.really}`}>{REALLY[part.really]}</span>}
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
