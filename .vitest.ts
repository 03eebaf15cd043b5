import { defineConfig } from "vitest/config";

const UNIT = "test/unit/**/*.test.ts";

export default defineConfig({
  test: {
    // Real processes and real sockets on two noisy cores: patience, not speed, is what a test may ask for.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // One more than the two cores of CI: a third of the time tests only wait, for a deadline or a restart.
    maxWorkers: 3,
    reporters: ["default", "./test/support/closing-line.ts"],
    projects: [
      // Loading the house and its libraries took half of the units' time, so files share a process.
      { extends: true, test: { name: "unit", include: [UNIT], isolate: false } },
      { extends: true, test: { name: "whole", include: ["test/**/*.test.ts"], exclude: [UNIT] } },
    ],
  },
});
