import { describe, vi } from "vitest";
import { engines } from "../support/engines.ts";
import { Bench, describeMatrix } from "../support/splice-matrix.ts";

vi.setConfig({ testTimeout: 120_000 }); // two GiB through one busy core take a while

describe.each(engines)("the $name splice", ({ open }) => {
  describeMatrix(new Bench(open), [1024 ** 3]);
});
