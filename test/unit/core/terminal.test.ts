import { describe, expect, it } from "vitest";
import { columns, table, visible } from "../../../src/core/terminal.ts";

describe("what commands show", () => {
  it("stands in columns, each as wide as it must be", () => {
    expect(
      columns([
        ["a", "bbb", "c"],
        ["aaa", "b", ""],
      ]),
    ).toEqual(["a    bbb  c", "aaa  b"]);
  });

  it("is aligned below a head, colours not counted", () => {
    const [head = "", row = ""] = table(["name", "what"], [["\u001b[31mred\u001b[39m", "x"]]);
    expect(head.indexOf("what")).toBe("name  ".length);
    expect(row).toBe("\u001b[31mred\u001b[39m   x");
  });

  it("cannot move the cursor or hide in a line of its own, whoever wrote it", () => {
    expect(visible("a\u001b[2Jb\nc\u202ed\u2028e")).toBe("a\\u001b[2Jb\\u000ac\\u202ed\\u2028e");
    expect(visible("Zürich 東京 🏥")).toBe("Zürich 東京 🏥");
  });
});
