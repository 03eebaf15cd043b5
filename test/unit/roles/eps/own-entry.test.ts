import { describe, expect, it } from "vitest";
import type { Finding } from "../../../../src/core/findings.ts";
import type { Entry } from "../../../../src/directory/entry.ts";
import { checkOwnEntry } from "../../../../src/roles/eps/commands/check/own-entry.ts";
import type { EpsSettings } from "../../../../src/roles/eps/settings.ts";
import { grpcServer, operator, service } from "../../../support/directory.ts";

const FILE = { file: "hd-1.crt", fingerprint: "ab12" };
const TYPES = ["grpc_server", "grpc_client", "jsonrpc_client"] as const;
const client = { type: "grpc_client", settings: {} };

const proxy = operator("proxy-1", {
  groups: ["proxies"],
  channels: [grpcServer({ address: "p:1" })],
});
const hd1 = operator("hd-1", {
  channels: [grpcServer({ address: "a:1", proxy: "proxy-1" }), client],
  services: [service("proxies", "_connectionRequest")],
  certificates: [{ key_usage: "encryption", fingerprint: "ab12" }],
});

/** What a check says that is not ok. */
function worse(
  own: Partial<Entry>,
  more: { types?: readonly string[]; proxy?: Entry } = {},
): Finding[] {
  const entries = [{ ...hd1, ...own }, more.proxy ?? proxy];
  const channels = (more.types ?? TYPES).map((type) => ({ type })) as EpsSettings["channels"];
  return [...checkOwnEntry({ name: "hd-1", channels }, { entries, certificates: [FILE] })].filter(
    ({ severity }) => severity !== "ok",
  );
}

const finding = (severity: string, what: string, fix = ""): unknown[] => [
  {
    severity,
    area: "operator",
    what: expect.stringContaining(what),
    fix: expect.stringContaining(fix),
  },
];

describe("the check of what the directory says of us", () => {
  it("finds nothing where all agrees", () => {
    expect(worse({})).toEqual([]);
  });

  it("misses our entry", () => {
    expect(worse({ name: "hd-9" })).toEqual(
      finding("problem", "no entry for hd-1", "Correct name"),
    );
  });

  it("misses the pin of our certificate, and says which fingerprint it needs", () => {
    const signing = [{ key_usage: "signing", fingerprint: "ab12" }];
    expect(worse({ certificates: signing })).toEqual(
      finding("problem", "does not pin the certificate of hd-1.crt", "fingerprint ab12"),
    );
  });

  it.each([
    [
      "a server that the settings lack",
      {},
      ["grpc_client", "stdout"],
      "problem",
      "has a gRPC server",
    ],
    [
      "a client that the settings lack",
      {},
      ["grpc_server", "stdout"],
      "warning",
      "can dial others",
    ],
    [
      "no service behind us",
      {},
      ["grpc_server", "grpc_client"],
      "note",
      "no service takes the calls",
    ],
  ])("sees %s", (_, own, types, severity, what) => {
    expect(worse(own, { types })).toContainEqual(finding(severity, what)[0]);
  });

  it("sees what it does not say of us", () => {
    expect(worse({ channels: [client] })).toEqual(finding("note", "names no gRPC server of hd-1"));
    expect(worse({ channels: [grpcServer({ address: "a:1" })] })).toEqual(
      finding("note", "does not say that hd-1 can dial others"),
    );
    expect(worse({ channels: [grpcServer({}), client] })[0]).toEqual(
      finding("problem", "has no usable address")[0],
    );
  });

  it("sees a proxy that nobody knows, or that cannot be dialled", () => {
    const channels = [grpcServer({ address: "a:1", proxy: "proxy-9" }), client];
    expect(worse({ channels })).toEqual(
      finding("problem", "proxy-9 as proxy of hd-1, and does not"),
    );
    const behind = { ...proxy, channels: [grpcServer({ address: "p:1", proxy: "hd-1" })] };
    expect(worse({}, { proxy: behind })).toEqual(finding("problem", "cannot be dialled itself"));
  });

  it("sees that no reverse stream is possible", () => {
    expect(worse({ services: [] })).toEqual(
      finding("problem", "may not call hd-1._connectionRequest", "permit it to a group of proxy-1"),
    );
    expect(worse({}, { types: ["grpc_server", "stdout"] }).at(-1)).toEqual(
      finding("problem", "cannot keep the reverse stream", "Add a channel of type grpc_client")[0],
    );
  });
});
