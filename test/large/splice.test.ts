import { describe } from "vitest";
import { engines } from "../support/engines.ts";
import { Bench, describeMatrix } from "../support/splice-matrix.ts";

describe.each(engines)("the $name splice", ({ open }) => {
  describeMatrix(new Bench(open), [1024 ** 3]);
});
