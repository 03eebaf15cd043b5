import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { PYTHON } from "./tools.ts";

/** What somebody asks for, below the address that a client is given. */
export type Asking = {
  path: string;
  method?: string;
  headers?: Record<string, string>;
  body?: Buffer;
  /** In chunks instead of by length. */
  chunked?: boolean;
  /** To where an answer says that it is; false: its answer itself is wanted. */
  follows?: boolean;
};

/** An answer as its client understood it: undone of any compression. Status 0: it broke off, and `why`. */
export type Heard = {
  status: number;
  /** In order, names in lower case. */
  headers: Array<[name: string, value: string]>;
  body: Buffer;
  why?: string;
};

/** An answer that is being heard. */
export type Listening = { text(): string; leave(): void };

/** A program that speaks HTTP and is none of ours. */
export type HttpClient = {
  name: string;
  /** Asks one after the other. */
  ask(base: string, askings: readonly Asking[]): Promise<Heard[]>;
  can(asking: Asking): boolean;
  listen(url: string): Listening;
};

const SECONDS = "20";

function broken(why: unknown): Heard {
  return { status: 0, headers: [], body: Buffer.alloc(0), why: String(why) };
}

/** Pairs of the last header of those that a program has written down. */
function lastHeader(text: string): Pick<Heard, "status" | "headers"> {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const at = lines.findLastIndex((line) => line.startsWith("HTTP/"));
  const fields = lines.slice(at + 1).flatMap((line) => {
    const [, name = "", value = ""] = /^([\w-]+):\s*(.*)$/.exec(line) ?? [];
    return name === "" ? [] : [[name.toLowerCase(), value] as [string, string]];
  });
  return { status: Number(lines[at]?.split(" ")[1] ?? 0), headers: fields };
}

async function run(program: string, argv: readonly string[], input = "") {
  const child = spawn(program, argv, { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.on("error", () => {}).end(input);
  const exited = once(child, "exit") as Promise<[number | null]>;
  const [stdout, stderr] = await Promise.all([buffer(child.stdout), buffer(child.stderr)]);
  const [code] = await exited;
  return { code, stdout, stderr: stderr.toString() };
}

function listenBy(program: string, ...argv: string[]): Listening {
  const child = spawn(program, argv, { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
  });
  return { text: () => text, leave: () => void child.kill("SIGKILL") };
}

async function fetched(base: string, asking: Asking): Promise<Heard> {
  const { path, method = "GET", headers = {}, body, chunked, follows } = asking;
  const inChunks = async function* (bytes: Buffer) {
    for (let at = 0; at < bytes.length; at += 10_000) yield bytes.subarray(at, at + 10_000);
  };
  const answer = await fetch(base + path, {
    method,
    headers,
    redirect: follows ? "follow" : "manual",
    ...(body && { body: chunked ? inChunks(body) : body, duplex: "half" }),
  });
  const { status } = answer;
  return { status, headers: [...answer.headers], body: Buffer.from(await answer.arrayBuffer()) };
}

const nodeFetch: HttpClient = {
  name: "fetch",
  can: () => true,
  async ask(base, askings) {
    const heard: Heard[] = [];
    for (const asking of askings) heard.push(await fetched(base, asking).catch(broken));
    return heard;
  },
  listen(url) {
    const leaving = new AbortController();
    let text = "";
    void (async () => {
      const { body } = await fetch(url, { signal: leaving.signal });
      for await (const chunk of body ?? []) text += Buffer.from(chunk);
    })().catch(() => {});
    return { text: () => text, leave: () => leaving.abort() };
  },
};

/** A folder for what is asked with, as long as `work` goes on. */
async function withFiles<T>(
  askings: readonly Asking[],
  work: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "eps-client-"));
  try {
    for (const [i, { body }] of askings.entries())
      if (body) await writeFile(join(folder, `asked-${i}`), body);
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** One process for all, which keeps its connection. */
export const curl: HttpClient = {
  name: "curl",
  can: () => true,
  ask: (base, askings) =>
    withFiles(askings, async (folder) => {
      const argv = askings.flatMap(
        ({ path, method = "GET", headers = {}, body, chunked, follows }, i) => [
          ...["--next", "-sS", "-m", SECONDS, "-w", "%{exitcode}\n", "--compressed"],
          ...["-D", `${folder}/header-${i}`],
          ...(method === "HEAD" ? ["--head", "-o", "/dev/null"] : ["-X", method]),
          ...(method === "HEAD" ? [] : ["-o", `${folder}/body-${i}`]),
          ...(follows ? ["-L"] : []),
          ...Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]),
          ...(chunked ? ["-H", "Transfer-Encoding: chunked"] : []),
          ...(body && method === "PUT" ? ["-T", `${folder}/asked-${i}`] : []),
          ...(body && method !== "PUT" ? ["--data-binary", `@${folder}/asked-${i}`] : []),
          base + path,
        ],
      );
      const { stdout, stderr } = await run("curl", argv.slice(1));
      const codes = stdout.toString().trim().split("\n");
      const answers = askings.map(async (_, i) => {
        if (codes[i] !== "0") return broken(stderr);
        const header = await readFile(join(folder, `header-${i}`), "latin1");
        const body = await readFile(join(folder, `body-${i}`)).catch(() => Buffer.alloc(0));
        return { ...lastHeader(header), body };
      });
      return await Promise.all(answers);
    }),
  listen: (url) => listenBy("curl", "-sN", url),
};

/** Shows no body of a redirection, and is at a loss with a part that it did not ask for by its own option. */
const wget: HttpClient = {
  name: "wget",
  can: ({ chunked, headers, follows }) => !chunked && !headers?.["Range"] && follows !== false,
  ask: (base, askings) =>
    withFiles(askings, async (folder) => {
      const heard: Heard[] = [];
      for (const [i, asking] of askings.entries()) {
        const { path, method = "GET", headers = {}, body, follows } = asking;
        const argv = [
          ...["-nv", "-S", "-O", "-", "--tries=1", `--timeout=${SECONDS}`],
          // It waits for the body of a 304 if it shall show what comes with errors.
          ...(headers["If-Modified-Since"] ? [] : ["--content-on-error"]),
          ...[`--method=${method}`, "--compression=auto"],
          ...(follows ? [] : ["--max-redirect=0"]),
          ...Object.entries(headers).map(([name, value]) => `--header=${name}: ${value}`),
          ...(body ? [`--body-file=${folder}/asked-${i}`] : []),
          base + path,
        ];
        const { code, stdout, stderr } = await run("wget", argv);
        heard.push(code === 4 ? broken(stderr) : { ...lastHeader(stderr), body: stdout });
      }
      return heard;
    }),
  listen: (url) => listenBy("wget", "-q", "-O", "-", url),
};

const PYTHON_ASKS = `
import base64, gzip, http.client, json, sys
from urllib.parse import urlsplit
base = urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(base.netloc, timeout=${SECONDS})
heard = []
for asking in json.load(sys.stdin):
    headers, body = asking["headers"], base64.b64decode(asking["body"]) if asking["body"] else None
    if asking["chunked"]:
        headers["Transfer-Encoding"] = "chunked"
        body = iter([body[at:at + 10000] for at in range(0, len(body), 10000)])
    try:
        connection.request(asking["method"], base.path + asking["path"], body, headers, encode_chunked=asking["chunked"])
        answer = connection.getresponse()
        bytes = answer.read()
        if answer.getheader("content-encoding") == "gzip": bytes = gzip.decompress(bytes)
        fields = [[name.lower(), value] for name, value in answer.getheaders()]
        heard.append({"status": answer.status, "headers": fields, "body": base64.b64encode(bytes).decode()})
    except (http.client.HTTPException, OSError) as why:
        connection.close()
        heard.append({"status": 0, "headers": [], "body": "", "why": repr(why)})
print(json.dumps(heard))`;

const PYTHON_LISTENS = `
import sys, urllib.request
answer = urllib.request.urlopen(sys.argv[1])
while line := answer.readline(): print(line.decode(), end="", flush=True)`;

/** Bodies in text, for those who are told by JSON. */
export function spelt(askings: readonly Asking[]): string {
  return JSON.stringify(
    askings.map(({ path, method = "GET", headers = {}, body, chunked = false, follows }) => {
      return { path, method, headers, chunked, follows, body: body?.toString("base64") ?? "" };
    }),
  );
}

/** The other way round. */
export function understood(json: string): Heard[] {
  const all = JSON.parse(json) as Array<Omit<Heard, "body"> & { body: string }>;
  return all.map(({ body, ...rest }) => ({ ...rest, body: Buffer.from(body, "base64") }));
}

const python: HttpClient = {
  name: "python",
  can: ({ follows }) => !follows,
  async ask(base, askings) {
    const { stdout, stderr } = await run(PYTHON, ["-c", PYTHON_ASKS, base], spelt(askings));
    if (stdout.length === 0) throw new Error(stderr);
    return understood(stdout.toString());
  },
  listen: (url) => listenBy(PYTHON, "-c", PYTHON_LISTENS, url),
};

export const CLIENTS: readonly HttpClient[] = [nodeFetch, curl, wget, python];
