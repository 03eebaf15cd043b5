import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Real processes and real sockets on two noisy cores: patience, not speed, is what a test may ask for.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // One more than the two cores of CI: a third of the time tests only wait, for a deadline or a restart.
    maxWorkers: 3,
    reporters: ["default", "./test/support/closing-line.ts"],
  },
});
