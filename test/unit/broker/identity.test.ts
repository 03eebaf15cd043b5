import { describe, expect, it } from "vitest";
import { refuseForeign } from "../../../src/broker/identity.ts";
import { MemoryDirectory, operator } from "../../support/directory.ts";

const signal = new AbortController().signal;
const pinned = (fingerprint: string) => ({
  certificates: [{ fingerprint, key_usage: "encryption" }],
});
const shown = (name: string) => ({ names: [name], fingerprint: `of ${name}` });

const directory = new MemoryDirectory(
  operator("hd-1", pinned("of hd-1")),
  operator("hd-2", pinned("of hd-2")),
  operator("hd-3", pinned("of hd-3")),
  operator("new-1", { certificates: [{ fingerprint: "of new-1", key_usage: "signing" }] }),
);
const letIn = (who: ReturnType<typeof shown> | undefined, self = "hd-1", ...allowed: string[]) =>
  refuseForeign(who, { self, allowed }, { directory, signal });

describe("an endpoint takes calls in", () => {
  it.each([
    ["from who shows the operator's own certificate", shown("hd-1"), []],
    ["from an operator that is allowed", shown("hd-2"), ["hd-3", "hd-2"]],
    ["from anybody if anybody is allowed", shown("stranger"), ["*"]],
  ])("%s", async (_, who, allowed) => {
    await letIn(who, "hd-1", ...allowed);
  });

  it("from anybody while the directory pins no certificate of its operator", async () => {
    await letIn(shown("stranger"), "new-1");
    await letIn(shown("stranger"), "unknown-1");
  });

  it.each([
    ["an operator that is not allowed", shown("hd-2"), ["hd-3"], "pinned for hd-2"],
    ["a certificate that is pinned for nobody", shown("stranger"), [], "not pinned"],
    [
      "the own name on another certificate",
      { ...shown("hd-1"), fingerprint: "x" },
      [],
      "x of hd-1",
    ],
    ["nobody's certificate", undefined, ["hd-2"], "without a certificate"],
  ])("but not from %s", async (_, who, allowed, told) => {
    await expect(letIn(who, "hd-1", ...allowed)).rejects.toMatchObject({
      fault: "forbidden",
      message: expect.stringMatching(new RegExp(`${told}.*allowed_clients`)),
    });
  });
});
