#!/usr/bin/env node
import { epsProgram } from "./programs/eps.ts";

await epsProgram().parseAsync();
