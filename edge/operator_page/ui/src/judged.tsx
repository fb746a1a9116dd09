// What people's judgements say of the verdicts, and the two ways to judge more.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Estimate, JudgedView, PartDetail, StationView } from "./api";
import { post, session, words } from "./client";
import { Dialog } from "./dialog";
import { count, hour, interval, share } from "./format";

interface Props {
  station: StationView;
  onDrawn: (detail: PartDetail) => void;
}

export function Judged({ station, onDrawn }: Props) {
  const [explained, setExplained] = useState(false);
  const [problem, setProblem] = useState("");
  const [drawing, setDrawing] = useState<"good" | "reject" | null>(null);
  const { judged } = station;
  const least = Math.min(judged.least, Math.max(1, station.reject));
  const may = session.value?.may_judge === true && session.value.name !== "";

  async function draw(kind: "good" | "reject") {
    setProblem("");
    setDrawing(kind);
    try {
      onDrawn(await post<PartDetail>(`/stations/${encodeURIComponent(station.pipeline)}/draw`, { kind }));
    } catch (error) {
      setProblem(words(error));
    } finally {
      setDrawing(null);
    }
  }

  return (
    <section class="judged" aria-labelledby="judged-title">
      <h2 id="judged-title">Checked by people</h2>
      <button class="figures" aria-haspopup="dialog" onClick={() => setExplained(true)}>
        <Figure name="Rejects that were right" of={judged.precision} lacking={station.reject ? `${count(judged.precision.of)} of ${least} judged` : "no reject yet"}>
          {judged.slanted && "picked by hand"}
        </Figure>
        <Figure name="Bad parts caught" of={judged.recall} lacking={lackingForRecall(judged)} />
      </button>
      {may ? (
        <div class="draws">
          <button disabled={drawing !== null || judged.rejects_waiting === 0} onClick={() => void draw("reject")}>
            {drawing === "reject" ? "Drawing…" : "Judge a random reject"}
          </button>
          <button disabled={drawing !== null || judged.drawn_waiting === 0} onClick={() => void draw("good")}>
            {drawing === "good" ? "Drawing…" : "Judge a random good part"}
          </button>
        </div>
      ) : (
        <p class="hint">This page may only look; who is logged in can judge parts.</p>
      )}
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {explained && (
        <Dialog title="How good the verdicts are" onClose={() => setExplained(false)}>
          <Explanation station={station} />
        </Dialog>
      )}
    </section>
  );
}

function lackingForRecall({ drawn_judged, drawn_ready, least, precision }: JudgedView): string {
  if (drawn_judged < least) return `good parts: ${count(Math.min(drawn_ready, least))} of ${least} judged`;
  return precision.of < least ? `rejects: ${count(precision.of)} of ${least} judged` : "no bad part was found";
}

interface FigureProps {
  name: string;
  of: Estimate;
  lacking: string;
  children?: ComponentChildren;
}

function Figure({ name, of, lacking, children }: FigureProps) {
  return (
    <span class="figure">
      <span class="name">{name}</span>
      {of.value === null ? (
        <>
          <span class="lacking">Not enough judged</span>
          <span class="under">{lacking}</span>
        </>
      ) : (
        <>
          <strong>{share(of.value)}</strong>
          <span class="under">{interval(of)}</span>
          <span class="under">{children || `${count(of.counted)} of ${count(of.of)}`}</span>
        </>
      )}
    </span>
  );
}

function Row({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

const told = (of: Estimate): string =>
  of.value === null ? `not enough judged (${count(of.of)})` : `${share(of.value)} (${interval(of)}; ${count(of.counted)} of ${count(of.of)})`;

function Explanation({ station }: { station: StationView }) {
  const { judged } = station;
  return (
    <div class="explained">
      <dl class="facts">
        <Row name="Rejects that were right">{told(judged.precision)}</Row>
        <Row name="Bad parts among the good">{told(judged.missed)}</Row>
        <Row name="Bad parts caught">{told(judged.recall)}</Row>
        <Row name="Rejects judged">{`${count(judged.rejects_judged)} of ${count(station.reject)}`}</Row>
        <Row name="Good parts that count">
          {judged.drawn_judged > 0
            ? `${count(judged.drawn_judged)}, drawn of all until ${hour(judged.fair_until_ms)}`
            : `none of ${count(judged.drawn)} drawn`}
        </Row>
        <Row name="Could not be told">{count(judged.unsure)}</Row>
      </dl>
      <p>
        <b>Rejects that were right</b> is the precision: of the rejects that people judged, how many were really bad.
        {judged.slanted && " So far somebody picked them by hand, which may slant it; judge random rejects to make it fair."}
      </p>
      <p>
        <b>Bad parts caught</b> is the recall: of all bad parts, how many were rejected. It needs good parts to be judged,
        too. They are drawn at random, each as likely as any other; that is why you can't choose one, and they count by
        tens. Intervals hold with 95 %. Under {judged.least} judgements nothing is said. All of this is of this shift.
      </p>
    </div>
  );
}
