import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as z from "zod";
import { loadSettings } from "../../../../src/core/settings/load.ts";

/** A folder of settings files in the temporary directory, gone when it is disposed. */
export class Folder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async with(files: Record<string, string>): Promise<Folder> {
    const folder = new Folder(await realpath(await mkdtemp(join(tmpdir(), "eps-settings-"))));
    for (const [name, text] of Object.entries(files)) {
      const file = join(folder.path, name);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, text);
    }
    return folder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}

type Where = { items?: string[]; env?: NodeJS.ProcessEnv };

/** Loads files against a schema. `items` are what the variable names; usually the folder itself. */
export async function load<S extends z.ZodType>(
  schema: S,
  files: Record<string, string>,
  { items = [""], env = {} }: Where = {},
) {
  await using folder = await Folder.with(files);
  const value = items.map((item) => join(folder.path, item)).join(":");
  try {
    return await loadSettings(schema, "TEST_SETTINGS", { ...env, TEST_SETTINGS: value });
  } catch (reason) {
    // Problems name files; a test should not have to know in which temporary folder they were.
    if (reason instanceof Error) reason.message = reason.message.replaceAll(folder.path, "~");
    throw reason;
  }
}

/** What the files say, whatever it is. */
export async function read(files: Record<string, string>, where?: Where): Promise<unknown> {
  return (await load(z.unknown(), files, where)).settings;
}

/** What is wrong with the files, line by line, without the heading. */
export async function problems(
  files: Record<string, string>,
  { schema = z.unknown(), ...where }: Where & { schema?: z.ZodType } = {},
): Promise<string[]> {
  const outcome = await load(schema, files, where).catch((reason: unknown) => reason);
  if (!(outcome instanceof Error)) throw new Error("nothing is wrong with these settings");
  const [, ...lines] = outcome.message.split("\n  ");
  return lines;
}
