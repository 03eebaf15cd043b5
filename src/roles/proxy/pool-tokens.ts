import { readFile } from "node:fs/promises";
import { Fault } from "../../core/fault.ts";
import type { PoolSettings } from "./settings.ts";

/** The tokens of the settings and of their file, in which they stand one a line. */
export async function readTokens({ name, tokens, tokens_file }: PoolSettings): Promise<string[]> {
  if (!tokens_file) return tokens;
  const text = await readFile(tokens_file, "utf8").catch((cause) => {
    const { code } = cause as NodeJS.ErrnoException;
    throw new Fault("settings", `pools: ${name}: cannot read tokens_file ${tokens_file}: ${code}`);
  });
  const lines = text.split("\n").map((line) => line.trim());
  const read = lines.filter((line) => line !== "");
  if (read.length + tokens.length > 0) return [...tokens, ...read];
  const message = `pools: ${name}: tokens_file ${tokens_file} holds no token: write one a line`;
  throw new Fault("settings", message);
}

/** Which ports let anybody serve this pool who can dial them. */
export function openPorts(settings: PoolSettings): Array<"data" | "worker"> {
  const { tokens, tokens_file, tls, worker_bind_address } = settings;
  const closed = tokens.length > 0 || tokens_file || tls?.verify_client;
  return [
    ...(closed ? [] : ["data" as const]),
    ...(worker_bind_address ? ["worker" as const] : []),
  ];
}
