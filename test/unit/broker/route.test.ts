import { describe, expect, it } from "vitest";
import { noMatch, pinnedNames } from "../../../src/broker/identity.ts";
import { needsReverseStream, routeTo } from "../../../src/broker/route.ts";
import type { Entry } from "../../../src/directory/entry.ts";
import { grpcServer, MemoryDirectory, operator } from "../../support/directory.ts";

describe("the route to an operator", () => {
  it.each([
    [{ address: "a:1" }, { address: "a:1", internal: false, proxy: "" }],
    [
      { address: "a:1", internal: null, proxy: null },
      { address: "a:1", internal: false, proxy: "" },
    ],
    [
      { address: "a:1", internal: true, proxy: "p", more: 1 },
      { address: "a:1", internal: true, proxy: "p" },
    ],
    [{}, undefined],
    [null, undefined],
    [{ address: "" }, undefined],
    [{ address: 5 }, undefined],
    [{ address: "a:1", internal: "yes" }, undefined],
    [{ address: "a:1", proxy: 5 }, undefined],
  ])("for settings of %j is %j", (settings, route) => {
    expect(routeTo(operator("x", { channels: [grpcServer(settings)] }))).toEqual(route);
  });

  it("is none where there is no entry or no gRPC server", () => {
    expect(routeTo(undefined)).toBeUndefined();
    const channels = [{ type: "grpc_client", settings: { address: "a:1" } }];
    expect(routeTo(operator("x", { channels }))).toBeUndefined();
  });
});

describe("a reverse stream", () => {
  const client = { type: "grpc_client", settings: null };
  const direct = grpcServer({ address: "a:1" });
  const internal = grpcServer({ address: "a:1", internal: true });
  const proxied = grpcServer({ address: "a:1", proxy: "p" });
  const callers = new Set(["g"]);
  const other = (channels: Entry["channels"], groups = ["g"]): Entry =>
    operator("other", { channels, groups });
  const own = (channels: Entry["channels"]): Entry => operator("own", { channels });

  it.each([
    // own, other, needed: eps-protocol 3.7
    { own: [], other: [direct, client], needed: true },
    { own: [client], other: [direct, client], needed: true },
    { own: [internal], other: [direct, client], needed: true },
    { own: [proxied], other: [direct, client], needed: true },
    { own: [direct], other: [direct], needed: true },
    { own: [direct], other: [direct, client], needed: false },
    { own: [proxied], other: [internal, client], needed: false },
    { own: [proxied], other: [proxied, client], needed: false },
    { own: [proxied], other: [client], needed: false },
    { own: [proxied], other: [grpcServer({})], needed: false },
    { own: [grpcServer({})], other: [direct, client], needed: true },
  ])("is needed ($needed) when ours is $own and theirs $other", (row) => {
    expect(needsReverseStream(own(row.own), other(row.other), callers)).toBe(row.needed);
  });

  it("is kept only to those who may call us, and to all if all may", () => {
    const stranger = other([direct], ["h"]);
    expect(needsReverseStream(own([]), stranger, callers)).toBe(false);
    expect(needsReverseStream(own([]), stranger, new Set())).toBe(false);
    expect(needsReverseStream(own([]), other([direct], []), new Set(["*"]))).toBe(true);
  });

  it("is never kept to ourselves", () => {
    const self = operator("own", { channels: [direct], groups: ["g"] });
    expect(needsReverseStream(self, self, callers)).toBe(false);
  });
});

describe("the names that a certificate proves", () => {
  const pin = (fingerprint: string, key_usage = "encryption") => ({ fingerprint, key_usage });
  const directory = new MemoryDirectory(
    operator("hd-1", { certificates: [pin("old"), pin("f1")] }),
    operator("hd-2", { certificates: [pin("f2")] }),
    operator("alias", { certificates: [pin("f1")] }),
    operator("signer", { certificates: [pin("f1", "signing")] }),
  );

  it.each([
    { names: ["hd-1"], fingerprint: "f1", proven: ["hd-1"] },
    { names: ["alias", "x", "hd-1"], fingerprint: "f1", proven: ["alias", "hd-1"] },
    { names: ["hd-2"], fingerprint: "f1", proven: [] },
    { names: ["signer"], fingerprint: "f1", proven: [] },
    { names: ["HD-1"], fingerprint: "f1", proven: [] },
    { names: ["hd-1"], fingerprint: "F1", proven: [] },
    { names: ["nobody"], fingerprint: "f1", proven: [] },
    { names: [], fingerprint: "f1", proven: [] },
  ])("$names with $fingerprint are $proven", ({ names, fingerprint, proven }) => {
    expect(pinnedNames(directory, { names, fingerprint })).toEqual(proven);
  });

  it("are gone as soon as the directory no longer pins it", () => {
    const changing = new MemoryDirectory(operator("hd-1", { certificates: [pin("f1")] }));
    const leaf = { names: ["hd-1"], fingerprint: "f1" };
    expect(pinnedNames(changing, leaf)).toEqual(["hd-1"]);
    changing.set(operator("hd-1", { certificates: [pin("f2")] }));
    expect(pinnedNames(changing, leaf)).toEqual([]);
  });

  it("are told with the fingerprint when nobody matches", () => {
    expect(noMatch({ names: ["a", "b"], fingerprint: "f9" })).toMatch(/^no matching client.*f9/);
  });
});
