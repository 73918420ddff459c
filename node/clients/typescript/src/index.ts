/**
 * Client of a Guilder node's control API: find, hire, wallet, tasks, events.
 *
 * Before each request the other end proves that it knows the node's token, which isn't sent before that: after a node was
 * killed, its port may be anybody's.
 */

import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

/** A service that others sell. */
export interface Found {
  seller: string;
  service: string;
  description: string;
  price: number;
  unit: string;
  mints: string[];
  expires: number | null;
}

/** Why something didn't come off: the one shape of errors. `code` is for programs, `fault` the party at fault. */
export interface Failure {
  code: string;
  fault: string;
  message: string;
  hint: string | null;
  retryable: boolean;
  task: string | null;
  money: string | null;
}

/** A task, bought or sold. Moments are seconds since the Unix epoch. */
export interface Task {
  id: string;
  side: "buyer" | "seller";
  service: string;
  peer: string | null;
  state: string;
  ended: boolean;
  delivered: boolean;
  failure: Failure | null;
  price: number | null;
  unit: string | null;
  mint: string | null;
  created: number;
  updated: number;
  award: string | null;
  receipt: string | null;
  output_bytes: number | null;
  money: string | null;
  label?: string;
}

/** What the wallet holds at one mint in one unit, by where it is. */
export interface Balance {
  mint: string;
  unit: string;
  available: number;
  purse: number;
  at_risk: number;
  waiting: number;
  earned: number;
  pending: number;
}

/** A line of a stream. `say` is a sentence for people; kinds that aren't known are to be skipped. */
export interface Event {
  kind: string;
  say?: string;
  [name: string]: unknown;
}

/** The terms of a hire; what isn't said is decided by the node's settings. */
export interface HireTerms {
  max_price?: number;
  unit?: string;
  deadline_secs?: number;
  /** A key of your own: given again, it is the same task. */
  id?: string;
  /** Try again so often if it fails, as long as nothing can be paid twice. */
  retry?: number;
  label?: string;
  mode?: "auto" | "escrow" | "prepaid";
  mint?: string;
  seller?: string;
  avoid?: string[];
  prefer?: string[];
}

/** Which tasks are listed. */
export interface TaskFilter {
  state?: string;
  side?: "buyer" | "seller";
  service?: string;
  peer?: string;
  since?: string | number;
  until?: string | number;
  label?: string;
}

/** What a hire came to. */
export interface Delivered {
  task: Task;
  output: Uint8Array;
}

/** No node runs on this home, or what answers isn't it. */
export class NotRunning extends Error {
  override name = "NotRunning";
  /** A hire with an `id` is safe to repeat once it runs again. */
  readonly retryable: boolean;

  constructor(message: string, retryable = true) {
    super(message);
    this.retryable = retryable;
  }
}

/** The node refused. `code` is for programs; `fault` is the party at fault; `money` says what became of the money. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly code: string;
  readonly fault: string;
  readonly hint: string | null;
  readonly retryable: boolean;
  readonly task: string | null;
  readonly money: string | null;

  constructor(error: Partial<Failure>) {
    super(error.message ?? "the node gave no reason");
    this.code = error.code ?? "unknown";
    this.fault = error.fault ?? "unknown";
    this.hint = error.hint ?? null;
    this.retryable = error.retryable ?? false;
    this.task = error.task ?? null;
    this.money = error.money ?? null;
  }
}

/** A hire that wasn't delivered: `task` says why, and what became of the money. */
export class TaskFailed extends Error {
  override name = "TaskFailed";
  readonly task: Task;
  /** Whether the same hire may come off later, though nothing is changed. */
  readonly retryable: boolean;

  constructor(task: Task) {
    super(task.failure?.message ?? `it ended as ${task.state}`);
    this.task = task;
    this.retryable = task.failure?.retryable ?? false;
  }
}

interface Access {
  address: string;
  token: string;
}

/** The node's folder, where `guilder` looks for it too. */
export function defaultHome(): string {
  if (process.env.GUILDER_HOME) return process.env.GUILDER_HOME;
  return join(process.env.XDG_DATA_HOME || join(homedir(), ".local", "share"), "guilder");
}

function query(terms: Record<string, unknown>): string {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(terms)) {
    if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) continue;
    said.set(name, Array.isArray(value) ? value.join(",") : String(value));
  }
  const text = said.toString();
  return text ? `?${text}` : "";
}

/** The connection broke: the node went away. */
function gone(error: unknown): never {
  throw new NotRunning(`the node went away: ${error}`);
}

async function readPrivate(path: string, absent: NotRunning): Promise<string> {
  try {
    if ((await stat(path)).mode & 0o077) {
      throw new NotRunning(`${path} can be read by others: chmod 600 it, and restart the node`, false);
    }
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") throw absent;
    throw error;
  }
}

/** A node on this machine. */
export class Client {
  readonly home: string;
  readonly caller: string | undefined;
  private readonly isNamed: boolean;

  /**
   * `home` is the node's folder, `caller` who this program is to the node (`guilder caller add`); without, it is its owner. Where neither
   * is given, GUILDER_API and GUILDER_TOKEN of the environment say where the node is and who this program is, if they are set.
   */
  constructor(home?: string, caller?: string) {
    this.home = home ?? defaultHome();
    this.caller = caller;
    this.isNamed = home !== undefined || caller !== undefined;
  }

  private async access(): Promise<Access> {
    const { GUILDER_API: url, GUILDER_TOKEN: token } = process.env;
    if (!this.isNamed && url && token) {
      return { address: url.replace(/^http:\/\//, "").replace(/\/$/, ""), token };
    }
    const running = `no node runs on ${this.home}: start it with guilder up`;
    let access: Access;
    const text = await readPrivate(join(this.home, "api.json"), new NotRunning(running));
    try {
      access = JSON.parse(text) as Access;
    } catch {
      throw new NotRunning(running);
    }
    if (this.caller === undefined) return access;
    const none = new NotRunning(`there is no caller ${this.caller}: guilder caller add --help`, false);
    const own = await readPrivate(join(this.home, "callers", this.caller), none);
    return { address: access.address, token: own.trim() };
  }

  private async greet({ address, token }: Access): Promise<void> {
    const nonce = randomBytes(32);
    const port = Buffer.alloc(2);
    port.writeUInt16BE(Number(address.slice(address.lastIndexOf(":") + 1)));
    const said = Buffer.concat([Buffer.from("guilder/api/hello/1"), port, nonce]);
    // Another's token than the daemon's own says before its dot whose it is; of a caller's the node knows the digest alone.
    const of = token.includes(".") ? token.slice(0, token.indexOf(".")) : "";
    const whose = of === "" ? "" : `&of=${encodeURIComponent(of)}`;
    const known = of.startsWith("caller/") ? createHash("sha256").update(token).digest("hex") : token;
    const expected = createHmac("sha256", known).update(said).digest();
    let proof = Buffer.alloc(0);
    try {
      const response = await fetch(`http://${address}/v1/hello?nonce=${nonce.toString("hex")}${whose}`, { redirect: "error" });
      proof = Buffer.from(String(((await response.json()) as { proof?: string }).proof), "hex");
    } catch (error) {
      throw new NotRunning(`no node answers at ${address}: ${error}`);
    }
    if (proof.length !== expected.length || !timingSafeEqual(proof, expected)) {
      throw new NotRunning("another program has the node's port: start the node again");
    }
  }

  private async request(method: string, path: string, body?: BodyInit, signal?: AbortSignal): Promise<Response> {
    const access = await this.access();
    await this.greet(access);
    const headers = { authorization: `Bearer ${access.token}`, "content-type": "application/json" };
    const options: RequestInit & { duplex?: "half" } = { method, headers, redirect: "error" };
    if (body !== undefined) {
      options.body = body;
      options.duplex = "half";
    }
    if (signal) options.signal = signal;
    const response = await fetch(`http://${access.address}${path}`, options).catch(gone);
    if (!response.ok) {
      const error = await response.json().catch(() => ({ message: `status ${response.status}` }));
      throw new ApiError(error as Partial<Failure>);
    }
    return response;
  }

  /** Any request whose answer is one JSON value: see docs/api.md. */
  async call<T>(method: string, path: string, value?: unknown): Promise<T> {
    const response = await this.request(method, path, value === undefined ? undefined : JSON.stringify(value));
    return (await response.json().catch(gone)) as T;
  }

  /** Any request whose answer is a stream, line by line as it comes. Leaving the loop closes it. */
  async *stream<T>(method: string, path: string, body?: BodyInit): AsyncGenerator<T, void, undefined> {
    const left = new AbortController();
    try {
      const response = await this.request(method, path, body, left.signal);
      const decoder = new TextDecoder();
      let rest = "";
      for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
        rest += decoder.decode(piece, { stream: true });
        const lines = rest.split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          if (!line) continue;
          const said = JSON.parse(line) as { item: T; error?: Partial<Failure> };
          if (said.error) throw new ApiError(said.error);
          // Other kinds of lines are a later version's.
          if ("item" in said) yield said.item;
        }
      }
    } catch (error) {
      // What fetch throws when a connection breaks.
      if (error instanceof TypeError) gone(error);
      throw error;
    } finally {
      left.abort();
    }
  }

  /** How the node does. */
  status(): Promise<Record<string, unknown>> {
    return this.call("GET", "/v1/status");
  }

  /** Who sells a service, as they are found. */
  find(service: string, limit?: number): AsyncGenerator<Found, void, undefined> {
    return this.stream("GET", `/v1/find/${encodeURIComponent(service)}${query({ limit })}`);
  }

  /** Hires, and tells each step as it comes; the last is of kind `ended`. The task goes on if nobody listens. */
  hireEvents(service: string, input: BodyInit = "", terms: HireTerms = {}): AsyncGenerator<Event, void, undefined> {
    return this.stream("POST", `/v1/tasks${query({ service, ...terms })}`, input);
  }

  /**
   * Has a service done, pays for it, and returns the output. With `id` it can be repeated: the same key again is the same task.
   * Throws `TaskFailed` if it wasn't delivered.
   */
  async hire(
    service: string,
    input: BodyInit = "",
    { onEvent, ...terms }: HireTerms & { onEvent?: (event: Event) => void } = {},
  ): Promise<Delivered> {
    let ended: Task | undefined;
    for await (const event of this.hireEvents(service, input, terms)) {
      if (event.kind === "ended") ended = event as unknown as Task;
      onEvent?.(event);
    }
    if (!ended) throw new NotRunning("the node went away before the task was over: repeat the hire with the same id");
    if (!ended.delivered) throw new TaskFailed(ended);
    return { task: ended, output: await this.output(ended.id) };
  }

  /** Tasks, the newest first, page by page. */
  async *tasks(filter: TaskFilter = {}): AsyncGenerator<Task, void, undefined> {
    let after: string | undefined;
    for (;;) {
      const page: Task[] = await this.call("GET", `/v1/tasks${query({ ...filter, limit: 100, after })}`);
      yield* page;
      const last = page.at(-1);
      if (page.length < 100 || !last) return;
      after = last.side === "seller" && last.award ? last.award : last.id;
    }
  }

  /** One task. */
  task(id: string): Promise<Task> {
    return this.call("GET", `/v1/tasks/${encodeURIComponent(id)}`);
  }

  /** What a task has delivered. */
  async output(id: string): Promise<Uint8Array> {
    const response = await this.request("GET", `/v1/tasks/${encodeURIComponent(id)}/output`);
    return new Uint8Array(await response.arrayBuffer().catch(gone));
  }

  /** Calls a task off. */
  cancel(id: string): Promise<Task> {
    return this.call("DELETE", `/v1/tasks/${encodeURIComponent(id)}`);
  }

  /** What the wallet holds. */
  wallet(): Promise<Balance[]> {
    return this.call("GET", "/v1/wallet");
  }

  /** All that happens from now on; given the `seq` of an event, first what is kept of what came after it (0: all). */
  events(after?: number): AsyncGenerator<Event, void, undefined> {
    return this.stream("GET", `/v1/events${query({ after })}`);
  }
}
