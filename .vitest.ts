import { defineConfig } from "vitest/config";

const ALL = "test/**/*.test.ts";
const LARGE = "test/large/**/*.test.ts";

export default defineConfig({
  test: {
    // Real processes and real sockets on two noisy cores: patience, not speed, is what a test may ask for.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // One more than the two cores of CI: a third of the time tests only wait, for a deadline or a restart.
    maxWorkers: 3,
    reporters: ["default", "./test/support/closing-line.ts"],
    projects: [
      // Files share a process, since loading the house and its libraries took a good part of the time; not
      // where what a process holds is weighed.
      { extends: true, test: { name: "all", include: [ALL], exclude: [LARGE], isolate: false } },
      { extends: true, test: { name: "large", include: [LARGE] } },
    ],
  },
});
