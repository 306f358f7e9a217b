// A client of the Assistenza API. generated.ts has the types of every call, made of the OpenAPI document; this module adds what a
// program needs around them: retries, idempotency keys, whole lists, and problems as exceptions.

import createFetchClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./generated.js";

export type { components, operations, paths } from "./generated.js";
export type Schemas = components["schemas"];

/** A problem (RFC 9457): `code` tells the kind. */
export interface Problem {
  code: string;
  status: number;
  title: string;
  detail?: string;
}

export interface Options {
  baseUrl: string;
  token: string;
  /** Of texts for people: `it`, `en` or `de`. */
  language?: string;
  retries?: Partial<Retries>;
  /** Milliseconds for each attempt; 40,000 by default. A call that waits for news may wait 30,000. */
  timeout?: number;
  fetch?: (request: Request) => Promise<Response>;
}

export interface Retries {
  /** How often a request is tried in all. */
  attempts: number;
  /** Milliseconds: a pause is chosen at random below a bound that doubles from `first` to `longest`. */
  first: number;
  longest: number;
  /** Milliseconds: an answer whose `Retry-After` asks for more is the caller's. */
  patience: number;
}

const RETRIES: Retries = { attempts: 5, first: 250, longest: 8_000, patience: 60_000 };
const TIMEOUT = 40_000;
const AGAIN = new Set([429, 502, 503, 504]);
const KEY = "Idempotency-Key";
const POSITION = "X-Assistenza-Position";
const POSITION_FOR = 60_000;
// The only call that takes no key although a second one differs: a link opens once.
const ONCE = "/v1/sign-in-links/redemption";

export type Assistenza = Client<paths>;

/** A client whose calls repeat what failed, so that it takes effect once. */
export function connect(options: Options): Assistenza {
  const headers: Record<string, string> = { Authorization: `Bearer ${options.token}` };
  if (options.language !== undefined) headers["Accept-Language"] = options.language;
  return createFetchClient<paths>({ baseUrl: options.baseUrl, headers, fetch: retrying(options) });
}

/** The answer has `data`; throws Refused where it is a problem. */
export function expect<Data>(answer: { data?: Data; error?: unknown; response: Response }): Data {
  if (!answer.response.ok) throw new Refused(answer.response, answer.error);
  return answer.data as Data;
}

/** The service answered with a problem, or something in between with a page of its own (`problem` is undefined then). */
export class Refused extends Error {
  readonly status: number;
  readonly problem: Problem | undefined;

  constructor(readonly response: Response, body: unknown) {
    const problem = isProblem(body) ? body : undefined;
    super(problem ? `${problem.status} ${problem.code}: ${problem.detail ?? problem.title}` : `${response.status} ${response.statusText}`);
    this.name = "Refused";
    this.status = response.status;
    this.problem = problem;
  }

  get code(): string | undefined {
    return this.problem?.code;
  }

  /** Whether the problem is of this kind, whose members are typed then: `refused.is("not_entitled")`. */
  is<Code extends KnownProblem["code"]>(code: Code): this is { problem: Extract<KnownProblem, { code: Code }> } {
    return this.code === code;
  }
}

type KnownProblem = { [Name in keyof Schemas]: Name extends `${string}Problem` ? Extract<Schemas[Name], { code: string; status: number }> : never }[keyof Schemas];

interface Page<Item> {
  items: Item[];
  next_cursor?: string | null;
}

/** All items of a list, page after page. Throws Refused. */
export async function* every<Item>(
  page: (cursor: string | undefined) => Promise<{ data?: Page<Item>; error?: unknown; response: Response }>,
): AsyncGenerator<Item, void, undefined> {
  let cursor: string | undefined;
  do {
    const answer = expect(await page(cursor));
    yield* answer.items;
    cursor = answer.next_cursor ?? undefined;
  } while (cursor !== undefined);
}

function isProblem(body: unknown): body is Problem {
  return typeof body === "object" && body !== null && "code" in body && "status" in body;
}

function retrying(options: Options): (request: Request) => Promise<Response> {
  const rules = { ...RETRIES, ...options.retries };
  const send = options.fetch ?? ((request: Request) => fetch(request));
  let written: { at: bigint; sent: string; until: number } | undefined;

  function remember(answer: Response): void {
    const sent = answer.headers.get(POSITION);
    const found = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i.exec(sent ?? "");
    if (sent === null || found === null) return;
    const at = (BigInt(`0x${found[1]}`) << 32n) + BigInt(`0x${found[2]}`);
    const now = Date.now();
    // Answers to writes that ran beside each other may come out of order.
    if (written === undefined || at >= written.at || now > written.until) written = { at, sent, until: now + POSITION_FOR };
  }

  return async (request) => {
    const once = new URL(request.url).pathname.endsWith(ONCE);
    const headers = new Headers(request.headers);
    if (request.method === "POST" && !once && !headers.has(KEY)) headers.set(KEY, crypto.randomUUID());
    if (request.method === "GET" && written !== undefined && Date.now() < written.until && !headers.has(POSITION)) {
      headers.set(POSITION, written.sent);
    }
    for (let attempt = 1; ; attempt += 1) {
      let pause: number | undefined;
      try {
        const signal = AbortSignal.any([request.signal, AbortSignal.timeout(options.timeout ?? TIMEOUT)]);
        const answer = await send(new Request(request.clone(), { headers, signal }));
        remember(answer);
        // 409 has Retry-After where what is in the way ends by itself.
        const waits = answer.status === 409 && answer.headers.has("Retry-After");
        const repeated = once ? answer.status === 429 || answer.status === 503 : AGAIN.has(answer.status) || waits;
        pause = repeated ? pauseAfter(rules, attempt, answer) : undefined;
        if (pause === undefined) return answer;
        await answer.body?.cancel();
      } catch (error) {
        // fetch does not tell whether the request was sent.
        pause = once || request.signal.aborted ? undefined : pauseAfter(rules, attempt);
        if (pause === undefined) throw error;
      }
      await sleep(pause, request.signal);
    }
  };
}

/** Milliseconds until the next attempt; undefined for no other. */
function pauseAfter(rules: Retries, attempt: number, answer?: Response): number | undefined {
  if (attempt >= rules.attempts) return undefined;
  const chosen = Math.random() * Math.min(rules.longest, rules.first * 2 ** (attempt - 1));
  const asked = answer === undefined ? undefined : retryAfter(answer);
  if (asked === undefined) return chosen;
  return asked > rules.patience ? undefined : asked + chosen;
}

/** Milliseconds of the header, which may be a date (RFC 9110, 10.2.3). */
function retryAfter(answer: Response): number | undefined {
  const sent = answer.headers.get("Retry-After") ?? "";
  if (/^\d+$/.test(sent)) return Number(sent) * 1_000;
  const at = Date.parse(sent);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const ended = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", ended);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", ended, { once: true });
  });
}
