#!/usr/bin/env node
import { proxyProgram } from "./programs/proxy.ts";

await proxyProgram().parseAsync();
