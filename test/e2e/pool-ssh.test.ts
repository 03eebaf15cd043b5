import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { freePorts } from "../../src/roles/dev/ports.ts";
import { Program } from "../../src/roles/dev/processes.ts";
import { describeWith } from "../support/tools.ts";
import { until } from "../support/until.ts";
import { dialFreely } from "../support/wires.ts";

const exec = promisify(execFile);
const SSHD = "/usr/sbin/sshd";

describeWith(["ssh", "ssh-keygen", SSHD], "a server that can only dial out", () => {
  it("is reached by ssh, with two commands and no settings", async () => {
    const folder = await mkdtemp(join(tmpdir(), "eps-ssh-"));
    const [data = 0, command = 0, client = 0, ssh = 0] = await freePorts(4);
    const key = join(folder, "key");
    await exec("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    await cp(`${key}.pub`, join(folder, "authorized"));
    const options = (all: Record<string, string>) =>
      Object.entries(all).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    // What Debian's way to start it makes first, where it is root's.
    if (userInfo().uid === 0) await mkdir("/run/sshd", { recursive: true, mode: 0o755 });
    const server = spawn(
      SSHD,
      ["-D", "-e", "-f", "/dev/null", "-h", key, "-p", `${ssh}`].concat(
        options({
          ListenAddress: "127.0.0.1",
          AuthorizedKeysFile: join(folder, "authorized"),
          StrictModes: "no",
          PermitRootLogin: "yes",
          PidFile: "none",
        }),
      ),
      { stdio: "ignore" },
    );
    const start = (...argv: string[]): Program =>
      new Program(argv[2] ?? "", { argv, env: process.env, logs: folder, keep: false });
    const ports = `${data},${command},${client}`;
    const flags = ["--preset", "relayserver", "--host", "127.0.0.1", "--ports", ports];
    const relay = start("proxy", "run", "pool", ...flags);
    const where = ["--relay", `127.0.0.1:${data},${command}`, "--forward", `127.0.0.1:${ssh}`];
    const agent = start("proxy", "run", "agent", ...where);
    try {
      await until(
        () => agent.lines().some(({ msg }) => msg === "waiting for clients"),
        () => `the agent's connections wait: ${JSON.stringify(agent.lines())}`,
      );
      const { stdout } = await exec("ssh", [
        ...["-F", "/dev/null", "-i", key, "-p", `${client}`],
        ...options({
          StrictHostKeyChecking: "no",
          UserKnownHostsFile: "/dev/null",
          LogLevel: "ERROR",
        }),
        `${userInfo().username}@127.0.0.1`,
        "echo through the relay; wc -c < /dev/null",
      ]);
      expect(stdout).toBe("through the relay\n0\n");
      const greeted = await dialFreely(client);
      const [banner] = (await once(greeted, "data")) as [Buffer];
      greeted.destroy();
      expect(`${banner}`).toMatch(/^SSH-2\.0-/); // a server that speaks first is heard
    } finally {
      await Promise.all([agent.stop(), relay.stop()]);
      const ended = once(server, "exit");
      if (server.kill()) await ended;
      await rm(folder, { recursive: true, force: true });
    }
  });
});
