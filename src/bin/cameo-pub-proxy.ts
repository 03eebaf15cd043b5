#!/usr/bin/env node
import { cameoProgram } from "./programs/cameo.ts";

await cameoProgram({
  name: "cameo-pub-proxy",
  ports: ["publisher port", "subscriber port"],
  only: "publisher",
  arrange: ([publisher, subscriber]) => [undefined, publisher, subscriber],
});
