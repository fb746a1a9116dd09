// Generated from cloud/device.py by `python -m cloud.ui_types`; do not edit.

export interface Snapshot {
  readonly cursor: string;
  readonly full: boolean;
  readonly time_ms: number;
  readonly stale_after_s: number;
  readonly broker: boolean;
  readonly budget_bytes: number;
  readonly totals: Totals;
  readonly availability: Availability;
  readonly rows: readonly DeviceRow[];
  readonly alerts: readonly AlertView[];
}

export interface Totals {
  readonly devices: number;
  readonly ok: number;
  readonly degraded: number;
  readonly alarm: number;
  readonly offline: number;
  readonly unacked: number;
  readonly upstream_bytes: number;
  readonly over_budget: number;
  readonly refused: number;
}

export interface Availability {
  readonly day: string;
  readonly up_s: number;
  readonly known_s: number;
}

export interface DeviceRow {
  readonly node: string;
  readonly site: string;
  readonly line: string;
  readonly hardware: string;
  readonly software: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly state: DeviceState;
  readonly reason: string;
  readonly since_ms: number;
  readonly seen_ms: number;
  readonly p50_ms: number | null;
  readonly p99_ms: number | null;
  readonly misses: number;
  readonly rate_hz: number;
  readonly queue: number;
  readonly cpu: number;
  readonly memory: number;
  readonly disk: number;
  readonly temperature_c: number | null;
  readonly certificate_ms: number;
  readonly upstream_bytes: number;
  readonly unacked: number;
}

export type DeviceState = "ok" | "degraded" | "alarm" | "offline";

export interface AlertView {
  readonly node: string;
  readonly key: string;
  readonly origin: string;
  readonly code: string;
  readonly text: string;
  readonly severity: Severity;
  readonly state: AlertState;
  readonly raised_ms: number;
  readonly changed_ms: number;
  readonly acked_by: string;
  readonly note: string;
}

export type Severity = "info" | "warning" | "alarm";

export type AlertState = "active_unacked" | "active_acked" | "cleared_unacked" | "closed";

export interface Matches {
  readonly total: number;
  readonly matched: number;
  readonly nodes: readonly string[];
}

export interface DeviceDetail {
  readonly row: DeviceRow;
  readonly uptime_s: number;
  readonly links_up: number;
  readonly links_down: number;
  readonly refused: number;
  readonly processes: readonly ProcessHealth[];
  readonly pipelines: readonly PipelineHealth[];
  readonly models: readonly ModelHealth[];
  readonly config: Readonly<Record<string, number>>;
  readonly config_desired: ConfigDesired;
  readonly ledger: Ledger | null;
  readonly alerts: readonly AlertView[];
  readonly requests: readonly Request[];
  readonly history: readonly Happening[];
}

export interface ProcessHealth {
  readonly process: string;
  readonly state: State;
  readonly rss_mb: number;
}

export type State = "starting" | "active" | "idle" | "degraded" | "stopped";

export interface PipelineHealth {
  readonly pipeline: string;
  readonly rate_hz: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly late: number;
  readonly dropped: number;
}

export interface ModelHealth {
  readonly model: string;
  readonly version: string;
  readonly digest: string;
  readonly phase: string;
}

export interface ConfigDesired {
  readonly generation: number;
  readonly sections: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly by: string;
  readonly changed_ms: number;
  readonly outcome: string;
  readonly reason: string;
}

export interface Ledger {
  readonly schema: string;
  readonly epoch: number;
  readonly seq: number;
  readonly time_ns: number;
  readonly day: string;
  readonly wire_bytes: number;
  readonly rows: readonly LedgerRow[];
}

export interface LedgerRow {
  readonly kind: string;
  readonly messages: number;
  readonly payload_bytes: number;
}

export interface Request {
  readonly id: string;
  readonly node: string;
  readonly verb: string;
  readonly process: string;
  readonly by: string;
  readonly made_ms: number;
  readonly expires_ms: number;
  readonly outcome: string;
  readonly reason: string;
  readonly took_ms: number;
}

export interface Happening {
  readonly time_ms: number;
  readonly node: string;
  readonly kind: string;
  readonly text: string;
  readonly by: string;
}

export interface Session {
  readonly user: string;
  readonly role: string;
  readonly csrf: string;
}

export type Role = "viewer" | "operator" | "engineer" | "admin";
