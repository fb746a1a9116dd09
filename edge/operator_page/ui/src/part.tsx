// One part: its picture, what the model said, a replay, and what a person says of it.
import { useEffect, useState } from "preact/hooks";
import type { PartDetail, Really, ReplayView } from "./api";
import { get, post, session, words } from "./client";
import { Dialog } from "./dialog";
import { clock, ms } from "./format";
import { Picture } from "./parts";
import { KindMark, kindWord, REALLY } from "./shapes";

interface Props {
  id: string;
  drawn: PartDetail | null;
  onClose: () => void;
}

export function Part({ id, drawn, onClose }: Props) {
  const [detail, setDetail] = useState<PartDetail | null>(drawn);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    if (!drawn) get<PartDetail>(`/parts/${encodeURIComponent(id)}`).then(setDetail, (error) => setProblem(words(error)));
  }, [id, drawn]);
  const title = detail?.part.part ? `Part ${detail.part.part}` : "Part";
  return (
    <Dialog title={title} wide onClose={onClose}>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {!detail && !problem && <p class="waiting">Loading…</p>}
      {detail && <Body key={detail.part.result_id} detail={detail} onDetail={setDetail} onProblem={setProblem} />}
    </Dialog>
  );
}

interface BodyProps {
  detail: PartDetail;
  onDetail: (detail: PartDetail) => void;
  onProblem: (text: string) => void;
}

function Body({ detail, onDetail, onProblem }: BodyProps) {
  const { part } = detail;
  const may = session.value?.may_judge === true && session.value.name !== "";
  const [gone, setGone] = useState(false);
  return (
    <>
      <div class="detail">
        <Picture part={part} alt={`Picture of ${part.part ? `part ${part.part}` : "the part"}`} class="large" onGone={() => setGone(true)} />
        <div class="about">
          <p class={`verdict ${part.kind}`}>
            <KindMark kind={part.kind} />
            {kindWord(part.kind)}
            <span class="what">{part.label || "no label"}</span>
            <span class="score">{part.score.toFixed(3)}</span>
          </p>
          <Scores scores={detail.scores} />
          <dl class="facts">
            <Fact name="Time" value={clock(part.time_ms)} />
            <Fact name="Model" value={`${detail.model} ${detail.version}`} />
            <Fact name="Took" value={`${ms(detail.latency.total)} of ${ms(detail.deadline_ms)} ms${part.late ? ", too late" : ""}`} />
            {(detail.quality !== "good" || detail.reason) && <Fact name="Quality" value={`${detail.quality} ${detail.reason}`} />}
          </dl>
          {may && <Replay id={part.result_id} onProblem={onProblem} />}
        </div>
      </div>
      <div class="judging">
        {may && detail.changeable && <Judging detail={detail} onDetail={onDetail} onProblem={onProblem} />}
        <Said detail={detail} may={may} seen={part.picture && !gone} />
      </div>
    </>
  );
}

const Fact = ({ name, value }: { name: string; value: string }) => (
  <div>
    <dt>{name}</dt>
    <dd>{value}</dd>
  </div>
);

function Scores({ scores }: { scores: Readonly<Record<string, number>> }) {
  const shown = Object.entries(scores).slice(0, 4);
  if (shown.length < 2) return null;
  return (
    <ul class="scores" aria-label="Scores">
      {shown.map(([label, score]) => (
        <li key={label}>
          <span>{label}</span>
          <meter min={0} max={1} value={Math.min(1, Math.max(0, score))} aria-label={label} />
          <span>{score.toFixed(2)}</span>
        </li>
      ))}
    </ul>
  );
}

function Replay({ id, onProblem }: { id: string; onProblem: (text: string) => void }) {
  const [busy, setBusy] = useState(false);
  const [found, setFound] = useState<ReplayView | null>(null);

  async function run() {
    setBusy(true);
    onProblem("");
    try {
      setFound(await post<ReplayView>(`/parts/${encodeURIComponent(id)}/replay`, {}));
    } catch (error) {
      onProblem(words(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <div class="replay">
      <button disabled={busy} onClick={() => void run()}>
        {busy ? "Replaying…" : "Replay the decision"}
      </button>
      <p role="status">{found && outcome(found)}</p>
    </div>
  );
}

function outcome(found: ReplayView): string {
  if (found.problem) return `It can't be replayed: ${found.problem}`;
  const now = `${found.verdict} ${found.label} ${found.score.toFixed(3)}`;
  return found.same ? `The same again, bit for bit: ${now} (${found.engine}).` : `It differs now: ${now}. ${found.causes.join("; ")}`;
}

function Judging({ detail, onDetail, onProblem }: BodyProps) {
  const [busy, setBusy] = useState(false);
  const said = detail.judgements.at(-1)?.really ?? null;

  async function judge(really: Really) {
    if (really === said) return; // tapped twice: it is said already, and not changed
    setBusy(true);
    onProblem("");
    try {
      onDetail(await post<PartDetail>(`/parts/${encodeURIComponent(detail.part.result_id)}/judgement`, { really }));
    } catch (error) {
      onProblem(words(error));
    } finally {
      setBusy(false);
    }
  }

  const good = detail.part.kind === "good";
  const choice = (really: Really, name: string, word: string) => (
    <button class={name} aria-pressed={said === really} disabled={busy} onClick={() => void judge(really)}>
      {word}
    </button>
  );
  return (
    <div class="choices" role="group" aria-label="What it really was">
      {choice("bad", "say-bad", good ? "It was bad" : REALLY.bad)}
      {choice("good", "say-good", good ? "Really good" : "It was good")}
      {choice("unsure", "say-unsure", REALLY.unsure)}
      <p class="visually-hidden" role="status">
        {busy && "Sending…"}
      </p>
    </div>
  );
}

function Said({ detail, may, seen }: { detail: PartDetail; may: boolean; seen: boolean }) {
  const last = detail.judgements.at(-1);
  if (last) {
    const changes = detail.judgements.length - 1;
    return (
      <p class="hint" role="status">
        {REALLY[last.really]}, says {last.by} at {clock(last.at_ms)}
        {changes > 0 && ` (changed ${changes === 1 ? "once" : `${changes} times`})`}.
        {detail.changeable ? may && " It can be changed until the shift ends." : " It stays as it is."}
      </p>
    );
  }
  if (detail.changeable) {
    const unseen = seen ? "" : " There is no picture of it (any more): say what you know of the part, or that you can't tell.";
    return <p class="hint">{may ? `Nobody has judged this part yet.${unseen}` : ""}</p>;
  }
  return <p class="hint">{detail.part.kind === "good" ? "Good parts are judged only as they are drawn at random." : "It can't be judged: it gave no verdict, or its shift has ended."}</p>;
}
