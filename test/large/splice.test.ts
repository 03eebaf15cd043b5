import { describe, vi } from "vitest";
import { engines } from "../support/engines.ts";
import { Bench, describeMatrix } from "../support/splice-matrix.ts";

vi.setConfig({ testTimeout: 120_000 }); // GiB through one busy core take a while

/** Through streams every byte costs this process several times what it costs the kernel. */
const SIZES = { kernel: 1024 ** 3, stream: 256 * 1024 ** 2 };

describe.each(engines)("the $name splice", ({ name, open }) => {
  describeMatrix(new Bench(open), [SIZES[name]]);
});
