import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Scope } from "../../src/core/scope.ts";
import { readReplica } from "../../src/directory/open.ts";
import type { SignedRecord } from "../../src/directory/record.ts";
import { SdClient } from "../../src/directory/sd-client.ts";
import type { ApiDirectorySettings } from "../../src/directory/settings.ts";
import { openApiDirectory } from "../../src/directory/sources/api.ts";
import { compareViews, ViewWatch } from "../../src/directory/views.ts";
import { JsonrpcServers } from "../support/jsonrpc-servers.ts";
import { until } from "../support/until.ts";
import { type Holder, issueRoot, issueSigner, Pen } from "../unit/directory/authority.ts";

const never = new AbortController().signal;
const servers = new JsonrpcServers();
let folder: string;
let admin: Holder;
let scope: Scope;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "directory-views-"));
  const root = await issueRoot();
  admin = await issueSigner("hd-1", root);
  await writeFile(join(folder, "root.crt"), root.pem);
});
beforeEach(() => {
  scope = new Scope();
});
afterEach(async () => {
  await scope[Symbol.asyncDispose]();
  await servers[Symbol.asyncDispose]();
});
afterAll(() => rm(folder, { recursive: true }));

/** A directory server that shows these records, whatever they are at that time. */
async function serve(records: SignedRecord[], tip = () => records.at(-1)): Promise<Shown> {
  const asked: string[] = [];
  const { port } = await servers.open({}, async ({ method, params }) => {
    asked.push(method);
    if (method === "getTip") return { result: (tip() ?? null) as never };
    const index = records.findIndex(({ hash }) => hash === params["after"]);
    return { result: records.slice(index + 1) as never };
  });
  return { url: `http://127.0.0.1:${port}/jsonrpc`, asked };
}
type Shown = { url: string; asked: string[] };

function settingsFor(...endpoints: string[]): ApiDirectorySettings {
  const tls = {
    ca_certificate_files: [],
    verify_client: true,
    request_client_cert: false,
    insecure_skip_verify: false,
  };
  return {
    endpoints,
    server_names: ["sd-1"],
    cache_entries_for: 1,
    jsonrpc_client: { local: true, tls },
    ca_certificate_files: [join(folder, "root.crt")],
    ca_intermediate_certificate_files: [],
  };
}

/** How a second server compares with the first, which a client believes. */
async function compared(first: Shown, second: Shown) {
  const settings = settingsFor(first.url, second.url);
  const sd = scope.use(await SdClient.open(settings));
  const replica = await readReplica(settings, sd, never);
  const [own, other] = await compareViews(sd.servers, replica, never);
  expect(own).toMatchObject({ endpoint: first.url, relation: "same" });
  return other;
}

const hashOf = (record: SignedRecord | undefined): string => record?.hash ?? "";

/** Two directories that the same administrator signed, the same up to a point and then not. */
function fork(): { here: SignedRecord[]; there: SignedRecord[] } {
  const pen = new Pen();
  const common = [pen.pin(admin, "hd-1"), pen.write(admin, "hd-1", "groups", ["a"])];
  const other = new Pen(common[1]);
  return {
    here: [...common, pen.write(admin, "hd-2", "groups", ["a"])],
    there: [...common, other.write(admin, "hd-2", "groups", ["b"])],
  };
}

describe("what an endpoint of a directory shows, compared with another's,", () => {
  it("is the same, with the server's clock", async () => {
    const { here } = fork();
    const view = await compared(await serve(here), await serve([...here]));
    expect(view).toMatchObject({ relation: "same", ours: hashOf(here[2]) });
    expect(Math.abs(Date.now() - Number(view?.date))).toBeLessThan(60_000);
  });

  it("is behind if it lacks the newest records, or has none", async () => {
    const { here } = fork();
    const first = await serve(here);
    expect(await compared(first, await serve(here.slice(0, 2)))).toMatchObject({
      relation: "behind",
      theirs: hashOf(here[1]),
    });
    expect(await compared(first, await serve([]))).toMatchObject({
      relation: "behind",
      theirs: "",
    });
  });

  it("is ahead if its further records verify", async () => {
    const { here } = fork();
    const view = await compared(await serve(here.slice(0, 2)), await serve(here));
    expect(view).toMatchObject({ relation: "ahead", theirs: hashOf(here[2]) });
  });

  it("is another directory if it forked", async () => {
    const { here, there } = fork();
    expect(await compared(await serve(here), await serve(there))).toMatchObject({
      relation: "other",
      ours: hashOf(here[2]),
      theirs: hashOf(there[2]),
      reason: expect.stringContaining("replaced record 3 of 3"),
    });
  });

  it("is another directory if it began anew", async () => {
    const { here } = fork();
    const anew = [new Pen().write(admin, "hd-9", "groups", ["z"])];
    expect(await compared(await serve(here), await serve(anew))).toMatchObject({
      relation: "other",
      reason: expect.stringContaining("began anew"),
    });
  });

  it("is another directory if it claims a last record that it cannot show", async () => {
    const { here, there } = fork();
    const liar = await serve([...here], () => there[2]);
    expect(await compared(await serve(here), liar)).toMatchObject({
      relation: "other",
      reason: "it does not show the records up to its last one",
    });
  });

  it("is unknown if it does not answer, or not with a record", async () => {
    const { here } = fork();
    const first = await serve(here);
    const mad = await serve(here, () => ({ hash: 7 }) as never);
    expect(await compared(first, mad)).toMatchObject({
      relation: "silent",
      reason: expect.stringContaining("the answer to getTip is not valid"),
    });
    const gone = { url: first.url.replace(/\d+(?=\/)/, "1"), asked: [] };
    expect(await compared(first, gone)).toMatchObject({
      relation: "silent",
      reason: expect.stringContaining("does not answer"),
    });
  });
});

describe("a client with two endpoints", () => {
  type Told = { msg: string; endpoint: string; ours: string; theirs: string };

  /** Follows the first, compares often, and keeps what it warns of. */
  async function follow(first: Shown, second: Shown): Promise<Told[]> {
    const told: Told[] = [];
    const log = pino(
      { level: "warn" },
      new Writable({
        write(line, _, done) {
          told.push(JSON.parse(String(line)));
          done();
        },
      }),
    );
    const settings = settingsFor(first.url, second.url);
    scope.use(await openApiDirectory(settings, { log, compare_every_ms: 20 }));
    return told;
  }

  /** Waits until the endpoint was asked for its tip so many times more. */
  async function looks({ asked }: Shown, more: number): Promise<void> {
    const count = (): number => asked.filter((method) => method === "getTip").length;
    const from = count();
    await until(() => count() >= from + more, "the endpoints are compared");
  }

  it("warns once of two servers that show different directories, and again when that changes", async () => {
    const { here, there } = fork();
    const [first, second] = [await serve(here), await serve(there)];
    const told = await follow(first, second);
    await until(() => told.length > 0, "it warned");
    expect(told[0]).toMatchObject({
      msg: "an endpoint of the service directory shows another directory",
      endpoint: second.url,
      ours: hashOf(here[2]),
      theirs: hashOf(there[2]),
    });
    await looks(second, 3);
    expect(told).toHaveLength(1);
    there.push(new Pen(there[2]).write(admin, "hd-2", "groups", ["c"]));
    await until(() => told.length > 1, "it warned again");
    expect(told[1]).toMatchObject({ endpoint: second.url, theirs: hashOf(there[3]) });
  });

  it("warns of a server that holds back what another has", async () => {
    const { here } = fork();
    const [first, second] = [await serve(here.slice(0, 2)), await serve(here)];
    const told = await follow(first, second);
    await until(() => told.length > 0, "it warned");
    expect(told[0]).toMatchObject({
      msg: "another endpoint of the service directory has records that ours holds back",
      ours: hashOf(here[1]),
      theirs: hashOf(here[2]),
    });
  });

  it("says nothing of a server that is behind", async () => {
    const { here } = fork();
    const [first, second] = [await serve(here), await serve(here.slice(0, 2))];
    const told = await follow(first, second);
    await looks(second, 4);
    expect(told).toEqual([]);
  });
});

describe("the watch over views", () => {
  it("gives a server time to catch up", () => {
    const watch = new ViewWatch();
    const view = {
      endpoint: "a",
      relation: "other",
      ours: "1",
      theirs: "2",
      reason: "",
      date: undefined,
    } as const;
    expect(watch.news([view])).toEqual([]);
    expect(watch.news([{ ...view, relation: "same" }])).toEqual([]);
    expect(watch.news([view])).toEqual([]);
    expect(watch.news([{ ...view, relation: "silent" }])).toEqual([]);
    expect(watch.news([view])).toEqual([view]);
    expect(watch.news([view])).toEqual([]);
  });
});
