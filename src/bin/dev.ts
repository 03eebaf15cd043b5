#!/usr/bin/env node
import { Option } from "commander";
import { run } from "../core/run.ts";
import { makeCertificates } from "../roles/dev/certificates.ts";
import { demo } from "../roles/dev/demo.ts";
import { warnAboutExpiry } from "../roles/dev/expiry.ts";
import { demoPassthrough } from "../roles/dev/passthrough.ts";
import { demoPool } from "../roles/dev/pool.ts";
import { demoStreamq } from "../roles/dev/streamq.ts";
import { demoWest } from "../roles/dev/west.ts";
import { actAsB, demoZeromq } from "../roles/dev/zeromq.ts";
import { program } from "./program.ts";

const tell = (line: string): void => void process.stdout.write(`${line}\n`);
const dev = program(
  "dev",
  "Development certificates and a demonstration, for trying the programs on one machine",
  ["node dist/bin/dev.js certs --keys rsa --force", "node dist/bin/dev.js demo --keep"],
);
const settings = new Option("--settings <folder>", "the folder of the roles").default(
  "settings/dev",
);

dev
  .command("certs")
  .description("make a root, an intermediate and certificates for every role")
  .addOption(settings)
  .addOption(
    new Option("--keys <kind>", "of the TLS keys").choices(["ecdsa", "rsa"]).default("ecdsa"),
  )
  .option("--force", "replace the certificates that there are", false)
  .action((flags) =>
    run(async () => {
      const folders = {
        certs: `${flags.settings}/certs`,
        directory: `${flags.settings}/directory`,
      };
      await makeCertificates(folders, { keys: flags.keys, force: flags.force }, tell);
      await warnAboutExpiry(folders.certs, tell);
    }),
  );
dev
  .command("demo")
  .description("start five roles on free ports, ping through the proxy, show what happened")
  .addOption(settings)
  .option("--keep", "leave everything running", false)
  .action((flags) => run((signal) => demo(flags.settings, flags, signal)));
dev
  .command("demo-passthrough")
  .description("start six roles on free ports and reach an HTTPS server behind both proxies")
  .addOption(settings)
  .action((flags) => run((signal) => demoPassthrough(flags.settings, signal)));
dev
  .command("demo-pool")
  .description("start a relay and an agent on free ports, and reach the server beside the agent")
  .action(() => run((signal) => demoPool(signal)));
dev
  .command("demo-streamq")
  .description("start a relay for ZeroMQ, workers, clients, and a tap that reads along")
  .action(() => run((signal) => demoStreamq(signal)));
dev
  .command("demo-west")
  .description("a web server behind NATs, reached by curl in each of west's four cases")
  .addOption(settings)
  .action((flags) => run((signal) => demoWest(`${flags.settings}/west`, signal)));
dev
  .command("demo-zeromq")
  .description("start both proxies and fifty applications, and reach them all by two ports")
  .action(() => run((signal) => demoZeromq(signal)));
dev
  .command("zeromq-b <ports>", { hidden: true })
  .description("the other computer of demo-zeromq")
  .action((ports) => run(() => actAsB(ports)));
await dev.parseAsync();
