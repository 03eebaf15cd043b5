#!/usr/bin/env node
import { sdProgram } from "./programs/sd.ts";

await sdProgram().parseAsync();
