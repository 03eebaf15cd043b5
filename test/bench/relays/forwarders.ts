/** Relays that dial on by themselves: proxies for TCP, each as one would run it. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Contestant, type Place, type Relay, through } from "./relay.ts";
import { freePorts, Server } from "./server.ts";

const MOST = { idle: 7_000, setups: 3_000 };
const MIB = 1_048_576;

/** No relay at all: what the load costs by itself. */
export const direct: Contestant = {
  name: "direct",
  what: "no relay: what the load itself reaches",
  most: MOST,
  start: async ({ target }) => ({
    pids: [],
    prepare: async (circuits) => through(target, circuits),
    async [Symbol.asyncDispose]() {},
  }),
};

function haproxy(
  name: string,
  { what, splice, pipe_size }: { what: string; splice: string[]; pipe_size?: number },
): Contestant {
  const start = async ({ folder, target }: Place): Promise<Relay> => {
    const [port = 0] = await freePorts(1);
    const file = join(folder, "haproxy.cfg");
    const pipes = pipe_size === undefined ? "" : `  tune.pipesize ${pipe_size}\n`;
    await writeFile(
      file,
      `global
  nbthread 1
  maxconn 8500
  maxpipes 1000
${pipes}defaults
  mode tcp
${splice.map((option) => `  option ${option}\n`).join("")}  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen relay
  bind 127.0.0.1:${port}
  server callee 127.0.0.1:${target}
`,
    );
    return await forward(["haproxy", "-db", "-f", file], { folder, port });
  };
  const program = { command: "haproxy", version: ["-v"] };
  return { name, what, program, most: MOST, start };
}

/**
 * Told to splice from the first byte. With splice-auto alone a stream that flows well is looked at again
 * only when one of its timeouts is due, so that a short run would show haproxy copying.
 */
export const haproxySplice = haproxy("haproxy splice, 1 MiB", {
  what: "options splice-auto, splice-request and splice-response, pipes of 1 MiB, 1 thread",
  splice: ["splice-auto", "splice-request", "splice-response"],
  pipe_size: MIB,
});
export const haproxyShipped = haproxy("haproxy as shipped", {
  what: "option splice-auto, pipes of 64 KiB, 1 thread",
  splice: ["splice-auto"],
});
export const haproxySplice64 = haproxy("haproxy splice, 64 KiB", {
  what: "the same with pipes of 64 KiB",
  splice: ["splice-auto", "splice-request", "splice-response"],
});

function nginx(name: string, what: string, buffer: string): Contestant {
  const start = async ({ folder, target }: Place): Promise<Relay> => {
    const [port = 0] = await freePorts(1);
    const file = join(folder, "nginx.conf");
    await writeFile(
      file,
      `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
error_log ${folder}/error.log;
pid ${folder}/pid;
events { worker_connections 19000; }
stream {
  server {
    listen 127.0.0.1:${port} backlog=4096;
    proxy_pass 127.0.0.1:${target};
    proxy_buffer_size ${buffer};
    proxy_timeout 1h;
  }
}
`,
    );
    return await forward(["nginx", "-p", folder, "-e", `${folder}/error.log`, "-c", file], {
      folder,
      port,
    });
  };
  const program = { command: "nginx", version: ["-v"] };
  return { name, what, program, most: MOST, start };
}

export const nginxShipped = nginx("nginx stream", "1 worker, buffers of 16 KiB as shipped", "16k");
export const nginxTuned = nginx("nginx stream, 256 KiB", "1 worker, buffers of 256 KiB", "256k");

export const socat: Contestant = {
  name: "socat",
  what: "a process for each circuit",
  program: { command: "socat", version: ["-V"] },
  most: { idle: 500, setups: 1_000 },
  start: async ({ folder, target }) => {
    const [port = 0] = await freePorts(1);
    const listen = `TCP4-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork,backlog=4096`;
    return await forward(["socat", listen, `TCP4:127.0.0.1:${target}`], { folder, port });
  },
};

async function forward(
  argv: readonly [string, ...string[]],
  { folder, port }: { folder: string; port: number },
): Promise<Relay> {
  const server = await Server.start(argv, { folder, port });
  return {
    pids: [server.pid],
    prepare: async (circuits) => through(port, circuits),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
