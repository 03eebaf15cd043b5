#!/usr/bin/env node
import { cameoProgram } from "./programs/cameo.ts";

await cameoProgram({
  name: "cameo-rep-proxy",
  ports: ["port"],
  only: "responder",
  arrange: ([responder]) => [responder, undefined, undefined],
});
