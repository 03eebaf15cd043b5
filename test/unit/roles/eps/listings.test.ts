import { describe, expect, it } from "vitest";
import type { ConnectedPeer } from "../../../../src/broker/connected-peer.ts";
import type { Entry } from "../../../../src/directory/entry.ts";
import { fold } from "../../../../src/directory/fold.ts";
import { entryPage } from "../../../../src/roles/eps/commands/page.ts";
import { peersTable } from "../../../../src/roles/eps/commands/peers.ts";
import {
  entriesTable,
  positionAfter,
  recordsTable,
} from "../../../../src/roles/eps/commands/sd.ts";
import { grpcServer, operator, service } from "../../../support/directory.ts";
import { issueRoot, issueSigner, Pen } from "../../directory/authority.ts";

const hd2 = operator("hd-2", {
  groups: ["health-departments"],
  channels: [
    grpcServer({ address: "localhost:1", proxy: "proxy-1" }),
    { type: "grpc_client", settings: {} },
  ],
  services: [service("health-departments", "_ping")],
  certificates: [{ key_usage: "encryption", fingerprint: "ab12" }],
});

describe("the table of entries", () => {
  it("says how each operator is reached", () => {
    const inside = operator("in-1", { channels: [grpcServer({ address: "a:1", internal: true })] });
    const open = operator("open-1", { channels: [grpcServer({ address: "b:2" })] });
    const rows = entriesTable([hd2, inside, open, operator("op\u001b[2J")]);
    expect(rows.map((row) => row.split(/ {2,}/))).toEqual([
      ["operator", "groups", "reached", "services", "certificates", "records"],
      ["hd-2", "health-departments", "through proxy-1", "service", "1", "0"],
      ["in-1", "–", "not from outside", "–", "0", "0"],
      ["open-1", "–", "b:2", "–", "0", "0"],
      ["op\\u001b[2J", "–", "by its reverse streams", "–", "0", "0"],
    ]);
  });
});

describe("the table of records", () => {
  it("counts those before it, and names who signed", async () => {
    const pen = new Pen();
    const record = pen.write(await issueSigner("hd-1", await issueRoot()), "hd-2", "groups", []);
    const [, row = ""] = recordsTable([record], 4);
    expect(row.split(/ {2,}/)).toEqual([
      "5",
      record.record.created_at,
      "hd-1",
      "groups",
      "hd-2",
      record.hash.slice(0, 16),
    ]);
  });

  const records = ["abc1", "abd2", "e3"].map((hash) => ({ hash }));

  it("begins behind the record that is asked for", () => {
    expect(positionAfter("", records)).toBe(0);
    expect(positionAfter("abd2", records)).toBe(2);
    expect(positionAfter("e", records)).toBe(3);
  });

  it("knows when the directory has gone back behind it", () => {
    expect(() => positionAfter("f", records)).toThrow(/rolled back, began anew or shows another/);
    expect(() => positionAfter("ab", records)).toThrow(/several records begin with ab/);
  });
});

describe("the page of an operator", () => {
  it("tells how it is reached, what it offers to whom, and who says so", async () => {
    const admin = await issueSigner("hd-1", await issueRoot());
    const pen = new Pen();
    const records = [pen.write(admin, "hd-2", "groups", ["x"]), pen.pin(admin, "hd-2")];
    const entry: Entry = { ...hd2, records };
    const hd1 = operator("hd-1", { groups: ["health-departments"] });
    const page = entryPage(entry, [entry, hd1, operator("lab-1")]).join("\n");
    expect(page).toContain("reached  through proxy-1\n");
    expect(page).toContain(`since    ${records[0]?.record.created_at}, signed by hd-1`);
    expect(page).toContain("_ping  by health-departments  now hd-1  service service");
    expect(page).toContain("encryption  ab12");
    expect(page).toContain(`certificates  signed by hd-1  ${records[1]?.hash}`);
  });

  it("is honest about a directory that nobody signed", () => {
    const record = {
      name: "a",
      section: "groups",
      data: ["x"],
      created_at: "2026-01-01T00:00:00Z",
    } as const;
    const applied = {
      parent_hash: "",
      hash: "",
      signature: null,
      record: { ...record, data: ["x"] },
    };
    const entry = fold(new Map(), [applied]).get("a") as Entry;
    expect(entryPage(entry, [entry]).join("\n")).toContain("signed by nobody");
  });
});

describe("the table of peers", () => {
  it("tells the way, and the proxy in between", () => {
    const peer = { since: "2026-01-01T00:00:00.000Z", calls: 2 };
    const peers: ConnectedPeer[] = [
      { ...peer, operator: "hd-2", way: "dialled", proxy: "proxy-1" },
      { ...peer, operator: "hd-3", way: "reverse_in", proxy: "" },
    ];
    expect(peersTable(peers).map((row) => row.split(/ {2,}/))).toEqual([
      ["operator", "way", "since", "calls"],
      ["hd-2", "dialled through proxy-1", peer.since, "2"],
      ["hd-3", "reverse stream that it keeps here", peer.since, "2"],
    ]);
    expect(peersTable([])).toEqual(["nobody is connected"]);
  });
});
