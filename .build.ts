/**
 * Makes the programs of `dist/`, each with all that it leans on in a few files: Node takes longer to find and
 * read hundreds of them than to do what is in them (src/decisions/0017-built-in-one.md).
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const PROGRAMS = ["cameo-pub-proxy", "cameo-rep-proxy", "dev", "eps", "library", "proxy", "sd"];

const { metafile } = await build({
  entryPoints: [
    ...PROGRAMS.map((name) => `src/bin/${name}.ts`),
    ...readdirSync("src/examples").map((file) => `src/examples/${file}`),
    "src/relay/kernel/worker.ts",
  ],
  outdir: "dist",
  outbase: "src",
  chunkNames: "lib/[name]-[hash]",
  bundle: true,
  splitting: true,
  metafile: true,
  platform: "node",
  target: "node20.20",
  format: "esm",
  legalComments: "none", // all of them are in the notices
  // What has a part for each machine and may be missing.
  external: ["bufferutil", "koffi", "utf-8-validate", "zeromq", "eps-broker"],
  // Some of the libraries ask for others as CommonJS does.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
});

writeFileSync("dist/THIRD-PARTY-NOTICES.txt", noticesOf(Object.keys(metafile.inputs)));

/** The licences of the packages that these files belong to, which all ask to be kept beside copies. */
function noticesOf(files: readonly string[]): string {
  const folders = new Set(
    files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? []),
  );
  const notices = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(
      readFileSync(join(folder, "package.json"), "utf8"),
    );
    const texts = readdirSync(folder)
      .filter((file) => /^(licen[cs]e|copying|notice)/i.test(file))
      .map((file) => readFileSync(join(folder, file), "utf8").trim());
    return [`${name} ${version}, ${license}`, ...texts].join("\n\n");
  });
  const intro = "The programs in this folder contain these packages, under these licences.";
  return `${[intro, ...notices].join(`\n\n${"-".repeat(80)}\n\n`)}\n`;
}
