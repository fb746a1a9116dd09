// Requests to the device: JSON in and out, the CSRF token on every change, problems as errors with what to do.
import { signal } from "@preact/signals";
import type { SessionView } from "./api";

export const session = signal<SessionView | null | undefined>(undefined); // undefined: not asked yet; null: nobody
export const ended = signal(false); // it was not the person who ended the session

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
  ) {
    super(detail);
  }
}

async function call<T>(path: string, init: RequestInit): Promise<T> {
  const answer = await fetch(`/api/v1${path}`, { credentials: "same-origin", ...init }).catch(() => {
    throw new Problem(0, "the device does not answer; check the network and try again");
  });
  if (!answer.ok) {
    const body = (await answer.json().catch(() => ({}))) as { title?: string; detail?: string };
    if (answer.status === 401 && path !== "/login") {
      if (session.value) ended.value = true;
      session.value = null;
    }
    throw new Problem(answer.status, body.detail ?? body.title ?? `error ${answer.status}`);
  }
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

export const get = <T>(path: string): Promise<T> => call<T>(path, {});

export function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": session.value?.csrf ?? "" };
  return call<T>(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export async function askSession(): Promise<void> {
  try {
    session.value = await get<SessionView>("/session");
  } catch (error) {
    // A device that is away has not logged anybody out.
    if (session.value === undefined && !(error instanceof Problem && error.status === 0)) session.value = null;
    if (session.value === undefined) setTimeout(() => void askSession(), 2000);
  }
}

export const words = (error: unknown): string => {
  const text = error instanceof Error ? error.message : String(error);
  return text.charAt(0).toUpperCase() + text.slice(1);
};
