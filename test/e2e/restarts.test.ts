import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Town } from "../../src/roles/dev/town.ts";
import type { Answer } from "../../src/wire/answer.ts";
import {
  eventually,
  foundTown,
  GATEWAY,
  PING_ROLES,
  pingHd2,
  settingsWithCertificates,
  startPing,
} from "../support/town.ts";

let settings: Awaited<ReturnType<typeof settingsWithCertificates>>;
let town: Town;

beforeAll(async () => {
  settings = await settingsWithCertificates();
  town = await foundTown(settings.folder);
  await startPing(town);
});
afterAll(async () => {
  await town[Symbol.asyncDispose]();
  await settings[Symbol.asyncDispose]();
});

const call = (method: string): Promise<Answer> =>
  town.call({ role: "hd-1", port: GATEWAY["hd-1"] }, { method });
const ping = (): Promise<void> => pingHd2(town);

describe("a ping through the proxy, while programs come and go", () => {
  it("goes on while the service directory is away", async () => {
    await town.stop("sd-1");
    await ping();
    await town.start("sd-1");
    await ping();
  });

  it("says that hd-2 is away, and arrives again once it is back", async () => {
    await town.stop("hd-2");
    const answer = await call("hd-2._ping");
    expect(answer).toMatchObject({
      error: { code: 500, message: expect.stringMatching(/cannot connect us to hd-2/) },
    });
    await town.start("hd-2");
    await eventually(5_000, ping);
  });

  it("says that the proxy is away, and arrives again once it is back", async () => {
    await town.stop("public-proxy-1");
    const answer = await call("hd-2._ping");
    expect(answer).toMatchObject({
      error: { code: 500, message: expect.stringMatching(/public-proxy-1\.ga cannot connect us/) },
    });
    await town.start("public-proxy-1");
    await eventually(5_000, ping);
  });

  it.each(PING_ROLES)("arrives within 5 s of a restart of %s", async (role) => {
    await town.stop(role);
    await town.start(role);
    await eventually(5_000, ping);
  });

  it.each(PING_ROLES)("arrives within 5 s of a crash of %s", async (role) => {
    await town.stop(role, "SIGKILL");
    await town.start(role);
    await eventually(5_000, ping);
  });
});
