// Requests to the service: JSON in and out, the CSRF token on every change, problems as errors with what to do.
import { signal } from "@preact/signals";
import type { Session } from "./api";

export const session = signal<Session | null | undefined>(undefined); // undefined: not asked yet; null: logged out

export class Problem extends Error {
  constructor(
    readonly status: number,
    title: string,
    readonly detail: string,
  ) {
    super(detail ? `${title}: ${detail}` : title);
  }
}

async function call<T>(path: string, init: RequestInit): Promise<T> {
  const answer = await fetch(`/api/v1${path}`, { credentials: "same-origin", ...init });
  if (!answer.ok) {
    const body = (await answer.json().catch(() => ({}))) as { title?: string; detail?: string };
    if (answer.status === 401 && path !== "/login") session.value = null;
    throw new Problem(answer.status, body.title ?? `Error ${answer.status}`, body.detail ?? "");
  }
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

export const get = <T>(path: string, abort?: AbortSignal): Promise<T> => call<T>(path, abort ? { signal: abort } : {});

export function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": session.value?.csrf ?? "" };
  return call<T>(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export async function askSession(): Promise<void> {
  try {
    session.value = await get<Session>("/session");
  } catch (error) {
    // A service that is away has not logged anybody out.
    if (error instanceof Problem || session.value === undefined) session.value = null;
  }
}

const ORDER = ["viewer", "operator", "engineer", "admin"];
export const may = (role: string): boolean => ORDER.indexOf(session.value?.role ?? "") >= ORDER.indexOf(role);
export const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));
