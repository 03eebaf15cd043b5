import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Deadline } from "../../src/core/deadline.ts";
import { silent } from "../../src/core/log.ts";
import { Scope } from "../../src/core/scope.ts";
import type { Directory } from "../../src/directory/directory.ts";
import type { SignedRecord } from "../../src/directory/record.ts";
import { openApiDirectory } from "../../src/directory/sources/api.ts";
import { openJsonrpcServer } from "../../src/rpc/jsonrpc/server.ts";
import { JsonrpcServerSettings } from "../../src/rpc/settings.ts";
import type { Json, JsonObject } from "../../src/wire/json.ts";
import { eventually } from "../support/town.ts";
import { type Holder, issueRoot, issueSigner, Pen } from "../unit/directory/authority.ts";

let folder: string;
let root: Holder;
let admin: Holder;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "api-directory-"));
  root = await issueRoot();
  admin = await issueSigner("hd-1", root);
  await writeFile(join(folder, "root.crt"), root.pem);
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** A directory server whose answers the test decides; it counts how often it is asked. */
async function fakeSd(scope: Scope, answer: (params: JsonObject) => Json | Promise<Json>) {
  const asked: JsonObject[] = [];
  const server = await openJsonrpcServer(
    JsonrpcServerSettings.parse({ bind_address: "127.0.0.1:0" }),
    {
      serve: async ({ params }) => {
        asked.push(params);
        return { result: await answer(params) };
      },
      log: silent,
      setting: "test",
    },
  );
  scope.use(server);
  return { asked, url: `http://127.0.0.1:${server.port}/jsonrpc` };
}

async function follow(
  scope: Scope,
  endpoints: string[],
  cache_entries_for = 1,
): Promise<Directory> {
  const tls = {
    ca_certificate_files: [],
    verify_client: true,
    request_client_cert: false,
    insecure_skip_verify: false,
  };
  const settings = {
    endpoints,
    server_names: ["sd-1"],
    cache_entries_for,
    jsonrpc_client: { local: true, tls },
    ca_certificate_files: [join(folder, "root.crt")],
    ca_intermediate_certificate_files: [],
  };
  return scope.use(await openApiDirectory(settings, { log: silent }));
}

const ready = async (directory: Directory): Promise<void> => {
  using patience = new Deadline(5_000, "the first read");
  await directory.ready(patience.signal);
};

/** Answers as an original does: at once, with what comes after the hash, all of it if it is unknown. */
const original =
  (records: SignedRecord[]) =>
  ({ after }: JsonObject): Json => {
    const index = records.findIndex(({ hash }) => hash === after);
    return records.slice(index + 1) as unknown as Json;
  };

describe("a directory read from a server", () => {
  it("is known after the first answer and follows what is added, also at an original", async () => {
    await using scope = new Scope();
    const pen = new Pen();
    const records = [pen.write(admin, "hd-1", "groups", ["a"])];
    const sd = await fakeSd(scope, original(records));
    const directory = await follow(scope, [sd.url]);
    let changes = 0;
    directory.onChange(() => {
      changes += 1;
    });
    await ready(directory);
    expect(directory.entry("hd-1")?.groups).toEqual(["a"]);
    records.push(pen.write(admin, "hd-2", "groups", ["b"]));
    await eventually(5_000, async () => expect(directory.entry("hd-2")?.groups).toEqual(["b"]));
    expect(changes).toBeGreaterThanOrEqual(1);
    expect(sd.asked.length).toBeLessThan(8); // it waits between questions that are answered at once
  });

  it("goes to the next endpoint when one is gone", async () => {
    await using scope = new Scope();
    const pen = new Pen();
    const gone = await fakeSd(scope, () => null);
    const sd = await fakeSd(scope, original([pen.write(admin, "hd-1", "groups", ["a"])]));
    const dead = gone.url.replace(/\d+(?=\/)/, "1");
    const directory = await follow(scope, [dead, sd.url]);
    await ready(directory);
    expect(directory.entry("hd-1")?.groups).toEqual(["a"]);
  });

  it("holds on to what it knows when the server drops or forges records", async () => {
    await using scope = new Scope();
    const pen = new Pen();
    const [first, second, third] = ["a", "b", "c"].map((group) =>
      pen.write(admin, "hd-1", "groups", [group]),
    ) as [SignedRecord, SignedRecord, SignedRecord];
    let answers: SignedRecord[] = [first];
    const sd = await fakeSd(scope, () => answers as unknown as Json);
    const directory = await follow(scope, [sd.url]);
    await ready(directory);
    answers = [third]; // second is dropped
    const asked = sd.asked.length;
    await eventually(10_000, async () => expect(sd.asked.length).toBeGreaterThan(asked + 1));
    expect(directory.entry("hd-1")?.groups).toEqual(["a"]);
    answers = [{ ...second, record: { ...second.record, data: ["z"] } } as SignedRecord];
    const askedAgain = sd.asked.length;
    await eventually(10_000, async () => expect(sd.asked.length).toBeGreaterThan(askedAgain + 1));
    expect(directory.entry("hd-1")?.groups).toEqual(["a"]);
    answers = [second, third];
    await eventually(10_000, async () => expect(directory.entry("hd-1")?.groups).toEqual(["c"]));
  });

  it("answers from memory while the server hangs", async () => {
    await using scope = new Scope();
    const pen = new Pen();
    const records = [pen.write(admin, "hd-1", "groups", ["a"])];
    let hang = false;
    const sd = await fakeSd(scope, async (params) => {
      if (hang) await new Promise((resolve) => scope.signal.addEventListener("abort", resolve));
      return original(records)(params);
    });
    const directory = await follow(scope, [sd.url]);
    await ready(directory);
    hang = true;
    await eventually(10_000, async () => expect(sd.asked.length).toBeGreaterThan(1));
    await ready(directory);
    expect(directory.entry("hd-1")?.groups).toEqual(["a"]);
  });
});
