import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Town } from "../../src/roles/dev/town.ts";

/** Adds unsigned records to those that `settingsWithCertificates` copied, before a town is founded on them. */
export async function addRecords(
  folder: string,
  records: ReadonlyArray<{ name: string; section: string; data: unknown[] }>,
): Promise<void> {
  const dated = records.map((record) => ({ ...record, created_at: "2026-01-02T00:00:00Z" }));
  await writeFile(join(folder, "directory/003_more.json"), JSON.stringify({ records: dated }));
}

/** Which reverse streams to the endpoint beside the proxy a town has seen, by operator. */
export async function connected(town: Town, operator: string): Promise<void> {
  await town.said(
    "public-proxy-eps-1",
    `connected with ${operator}`,
    (line) => line.msg === "reverse stream accepted" && line["operator"] === operator,
  );
}
