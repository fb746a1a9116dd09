// Generated from edge/operator_page/views.py by `python -m edge.operator_page.ui_types`; do not edit.

export interface SessionView {
  readonly name: string;
  readonly may_judge: boolean;
  readonly csrf: string;
  readonly site: string;
  readonly line: string;
  readonly node: string;
}

export interface Snapshot {
  readonly time_ms: number;
  readonly utc_offset_ms: number;
  readonly heard_ms: number;
  readonly broker: boolean;
  readonly thumbnails: boolean;
  readonly shift_begin_ms: number;
  readonly shift_end_ms: number;
  readonly stations: readonly StationView[];
  readonly alarms: readonly AlarmView[];
}

export interface StationView {
  readonly pipeline: string;
  readonly line: LineView;
  readonly good: number;
  readonly reject: number;
  readonly unknown: number;
  readonly late: number;
  readonly missed: number;
  readonly reject_share: Estimate;
  readonly trend: Trend | null;
  readonly minutes: readonly MinuteView[];
  readonly per_minute: number;
  readonly oee: Oee;
  readonly latency: LatencyView;
  readonly newest: PartView | null;
  readonly rejects: readonly PartView[];
  readonly judged: JudgedView;
}

export interface LineView {
  readonly state: LineState;
  readonly why: string;
  readonly since_ms: number;
  readonly link: Link;
}

export type LineState = "running" | "stopped" | "failsafe" | "manual";

export interface Link {
  readonly state: LinkState;
  readonly source: string;
  readonly why: string;
}

export type LinkState = "up" | "lost" | "unknown" | "none";

export interface Estimate {
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly counted: number;
  readonly of: number;
}

export type Trend = "rising" | "falling" | "steady";

export interface MinuteView {
  readonly at_ms: number;
  readonly good: number;
  readonly reject: number;
  readonly unknown: number;
}

export interface Oee {
  readonly availability: number | null;
  readonly performance: number | null;
  readonly quality: number | null;
  readonly oee: number | null;
  readonly ran_s: number;
  readonly watched_s: number;
  readonly unwatched_s: number;
  readonly ideal_per_min: number;
}

export interface LatencyView {
  readonly p99_ms: number | null;
  readonly deadline_ms: number;
  readonly of: number;
  readonly acknowledged: boolean;
}

export interface PartView {
  readonly result_id: string;
  readonly part: string;
  readonly kind: Kind;
  readonly verdict: Verdict;
  readonly label: string;
  readonly score: number;
  readonly late: boolean;
  readonly time_ms: number;
  readonly picture: boolean;
  readonly really: Really | null;
  readonly by: string;
}

export type Kind = "good" | "reject" | "unknown";

export type Verdict = "ok" | "nok" | "unknown";

export type Really = "bad" | "good" | "unsure";

export interface JudgedView {
  readonly precision: Estimate;
  readonly missed: Estimate;
  readonly recall: Estimate;
  readonly slanted: boolean;
  readonly rejects_judged: number;
  readonly rejects_waiting: number;
  readonly drawn: number;
  readonly drawn_judged: number;
  readonly drawn_ready: number;
  readonly drawn_waiting: number;
  readonly fair_until_ms: number;
  readonly unsure: number;
  readonly least: number;
}

export interface AlarmView {
  readonly key: string;
  readonly text: string;
  readonly severity: Severity;
  readonly since_ms: number;
}

export type Severity = "info" | "warning" | "alarm";

export interface PartDetail {
  readonly part: PartView;
  readonly pipeline: string;
  readonly scores: Readonly<Record<string, number>>;
  readonly quality: Quality;
  readonly reason: string;
  readonly model: string;
  readonly version: string;
  readonly latency: Latency;
  readonly deadline_ms: number;
  readonly changeable: boolean;
  readonly judgements: readonly Judgement[];
}

export type Quality = "good" | "uncertain" | "bad";

export interface Latency {
  readonly ingest: number;
  readonly queue: number;
  readonly preprocess: number;
  readonly infer: number;
  readonly total: number;
}

export interface Judgement {
  readonly result_id: string;
  readonly really: Really;
  readonly by: string;
  readonly at_ms: number;
}

export interface ReplayView {
  readonly same: boolean;
  readonly verdict: string;
  readonly label: string;
  readonly score: number;
  readonly engine: string;
  readonly causes: readonly string[];
  readonly problem: string;
}
