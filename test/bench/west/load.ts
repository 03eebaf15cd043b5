/** The clients of a bench of west as a process of their own: they ask on plain sockets, so that they cost little. */
import { connect, type Socket } from "node:net";

/** Read from `port`: as much as comes, or one answer after the other. */
export type Work = {
  what: "bulk" | "ask";
  port: number;
  path: string;
  streams: number;
  seconds: number;
  /** Bulk is read no faster, in MB/s. */
  pace?: number;
};

/** Bytes and answers, how long it took, and how long the answers took. */
export type Done = {
  bytes: number;
  answers: number;
  seconds: number;
  p50_ms: number;
  p99_ms: number;
};

/** Into which all is read that is only counted. */
const SINK = Buffer.alloc(256 * 1024);

async function bulk({ port, path, streams, seconds, pace }: Work): Promise<Done> {
  let bytes = 0;
  const begun = performance.now();
  const over = begun + seconds * 1_000;
  const read = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const callback = (count: number): boolean => {
        bytes += count;
        if (performance.now() > over) socket.destroy();
        const ahead_ms = pace ? bytes / (pace * 1_000) - (performance.now() - begun) : 0;
        if (ahead_ms > 0) setTimeout(() => socket.resume(), ahead_ms);
        return ahead_ms <= 0;
      };
      const socket = connect({ port, host: "127.0.0.1", onread: { buffer: SINK, callback } });
      socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n`);
      socket.once("error", reject).once("close", resolve);
    });
  const stream = async (): Promise<void> => {
    while (performance.now() < over) await read();
  };
  await Promise.all(Array.from({ length: streams }, stream));
  return { bytes, answers: 0, seconds: (performance.now() - begun) / 1_000, p50_ms: 0, p99_ms: 0 };
}

async function ask({ port, path, streams, seconds }: Work): Promise<Done> {
  const took: number[] = [];
  const begun = performance.now();
  const over = begun + seconds * 1_000;
  const client = async (): Promise<void> => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    while (performance.now() < over) {
      const asked = performance.now();
      socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`);
      await answer(socket);
      took.push(performance.now() - asked);
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: streams }, client));
  const sorted = took.sort((one, other) => one - other);
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
  return {
    bytes: 0,
    answers: took.length,
    seconds: (performance.now() - begun) / 1_000,
    p50_ms: at(0.5),
    p99_ms: at(0.99),
  };
}

/** Resolves with the last byte of one answer that says how long it is. */
function answer(socket: Socket): Promise<void> {
  let text = "";
  return new Promise((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) return;
      const [, length] = /^content-length: (\d+)/im.exec(text) ?? [];
      const isWhole = text.length >= end + 4 + Number(length);
      if (!text.startsWith("HTTP/1.1 200") || !length) stop(new Error(`a strange answer: ${text}`));
      else if (isWhole) stop();
    };
    const broke = (): void => stop(new Error("it was hung up on"));
    const stop = (reason?: Error): void => {
      socket.off("data", hear).off("error", broke).off("close", broke);
      if (reason) reject(reason);
      else resolve();
    };
    socket.on("data", hear).on("error", broke).on("close", broke);
  });
}

process.on("message", (work: Work) => {
  void (work.what === "bulk" ? bulk : ask)(work).then(
    (done) => process.send?.({ done }),
    (reason) => process.send?.({ failed: String(reason) }),
  );
});
process.on("disconnect", () => process.exit());
