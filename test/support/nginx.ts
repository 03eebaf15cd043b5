import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./until.ts";

const TEMPORARY = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

type Plan = {
  /** Where it listens. */
  ports: readonly number[];
  /** What it serves, by name. */
  files: Readonly<Record<string, Buffer>>;
  /** What it does with paths that begin with `/live/` is this server's business. */
  live: number;
};

/**
 * Debian's nginx as a server of files, with ranges, compression, redirects, cookies and uploads, and in
 * front of another server. The first folder of every path is left out, since that is a site's.
 */
export class Nginx implements AsyncDisposable {
  /** What is uploaded to `kept/` lies here. */
  readonly kept: string;
  readonly #folder: string;
  readonly #child: ChildProcess;

  private constructor(folder: string, child: ChildProcess) {
    this.kept = join(folder, "files/kept");
    this.#folder = folder;
    this.#child = child;
  }

  static async open({ ports, files, live }: Plan): Promise<Nginx> {
    const folder = await mkdtemp(join(tmpdir(), "eps-nginx-"));
    await mkdir(join(folder, "files/kept"), { recursive: true });
    for (const [name, bytes] of Object.entries(files))
      await writeFile(join(folder, "files", name), bytes);
    const listens = ports.map((port) => `listen 127.0.0.1:${port};`).join(" ");
    const temporary = TEMPORARY.map((each) => `${each}_temp_path ${folder}/${each};`).join(" ");
    await writeFile(
      join(folder, "nginx.conf"),
      `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 1024; }
http {
  access_log off; ${temporary}
  types { application/octet-stream bin; text/plain txt; }
  gzip on; gzip_types text/plain; gzip_min_length 1000; gzip_proxied any;
  absolute_redirect off; if_modified_since before; client_max_body_size 64m;
  map $http_upgrade $upgrades { "" ""; default upgrade; }
  server {
    ${listens}
    root ${folder}/files;
    rewrite ^/[^/]+(/.+)$ $1;
    error_page 404 /missing.txt;
    location /kept/ { dav_methods PUT DELETE; }
    location = /moved { return 301 bytes.bin; }
    location = /none { return 204; }
    location = /cookies {
      add_header Set-Cookie "a$arg_of=1"; add_header Set-Cookie "b$arg_of=2, c"; return 200 "cookies";
    }
    location /live/ {
      proxy_pass http://127.0.0.1:${live}; proxy_http_version 1.1;
      proxy_buffering off; proxy_request_buffering off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrades;
    }
  }
}
`,
    );
    const argv = ["-e", `${folder}/error.log`, "-p", folder, "-c", `${folder}/nginx.conf`];
    const child = spawn("nginx", argv, { stdio: "ignore" });
    const nginx = new Nginx(folder, child);
    const up = `http://127.0.0.1:${ports[0]}/x/none`;
    await until(() => {
      if (child.exitCode === null)
        return fetch(up).then(
          ({ ok }) => ok,
          () => false,
        );
      return readFile(join(folder, "error.log"), "utf8").then((told) => {
        throw new Error(`nginx ended: ${told}`);
      });
    }, "nginx answers");
    return nginx;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) {
      const ended = once(this.#child, "exit");
      this.#child.kill();
      await ended;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}
