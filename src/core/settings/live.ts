import { isDeepStrictEqual } from "node:util";
import type * as z from "zod";
import { loadSettings } from "./load.ts";

/**
 * Settings that may change while a program runs.
 *
 * A schema marks the keys whose changes take effect at once. A role gets one view of its settings and
 * keeps it: of a marked key it always reads what was loaded last, of any other what held at the start.
 */

/** Marks a key, or a map with all that is in it, as one that whoever uses it reads when it is needed. */
export function live<S extends z.ZodType>(shape: S): S {
  return shape.meta({ live: true });
}

/** What a renewal came to, as paths like `public: accept_timeout`. */
type Renewal = {
  /** Changes that hold from now on. */
  taken: string[];
  /** Changes that take effect at the next start. */
  left: string[];
  warnings: string[];
};

export type OpenSettings<T> = {
  settings: T;
  warnings: string[];
  /** Loads them again. Throws what `loadSettings` throws, and then everything stays as it was. */
  renew(): Promise<Renewal>;
};

export async function openSettings<S extends z.ZodType>(
  schema: S,
  variable: string,
): Promise<OpenSettings<z.output<S>>> {
  const { settings, warnings } = await loadSettings(schema, variable);
  let now: unknown = settings;
  return {
    settings: viewOf(schema, () => now) as z.output<S>,
    warnings,
    async renew() {
      const loaded = await loadSettings(schema, variable);
      const changes = { taken: [], left: [], warnings: loaded.warnings };
      now = renewed(schema, { now, next: loaded.settings, path: [] }, changes);
      return changes;
    },
  };
}

function viewOf(schema: unknown, now: () => unknown): unknown {
  const value = now();
  const { shape, element } = partsOf(schema, value);
  if (shape && isMap(value)) {
    const view = {};
    for (const [key, child] of Object.entries(shape)) {
      const get = (): unknown => (now() as Values)[key];
      if (isLive(child)) Object.defineProperty(view, key, { enumerable: true, get });
      else if (key in value) Object.assign(view, { [key]: viewOf(child, get) });
    }
    return Object.freeze(view);
  }
  if (element && typesOf(value)) {
    const items = value as unknown[];
    return Object.freeze(items.map((_, i) => viewOf(element, () => (now() as unknown[])[i])));
  }
  return value;
}

type Step = { now: unknown; next: unknown; path: string[] };

/** What holds from now on: `next` where it may, `now` everywhere else. */
function renewed(schema: unknown, { now, next, path }: Step, changes: Renewal): unknown {
  if (isDeepStrictEqual(now, next)) return now;
  if (isLive(schema)) {
    changes.taken.push(path.join(": "));
    return next;
  }
  const { shape, element } = partsOf(schema, now);
  if (shape && isMap(now) && isMap(next) && now["type"] === next["type"]) {
    const entries = Object.entries(shape).map(([key, child]) => {
      const step = { now: now[key], next: next[key], path: [...path, key] };
      return [key, renewed(child, step, changes)];
    });
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  }
  const types = element === undefined ? undefined : typesOf(now);
  if (types && isDeepStrictEqual(types, typesOf(next))) {
    return types.map((type, i) => {
      const [was, is] = [now, next].map((list) => (list as unknown[])[i]);
      return renewed(element, { now: was, next: is, path: [...path, type] }, changes);
    });
  }
  changes.left.push(path.join(": "));
  return now;
}

type Values = Record<string, unknown>;

function isMap(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What tells the items of a list such as `channels` or `pools` apart: their types, or their names. */
function typesOf(value: unknown): string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const types = value.map((item) => (isMap(item) ? (item["type"] ?? item["name"]) : undefined));
  return types.every((type) => typeof type === "string") ? types : undefined;
}

function isLive(schema: unknown): boolean {
  return (schema as z.ZodType).meta()?.["live"] === true;
}

/** What a schema says about the keys of a map, or the items of a list, once defaults are put aside. */
function partsOf(schema: unknown, value: unknown): { shape?: Values; element?: unknown } {
  const def = (schema as z.ZodType)._zod.def as unknown as Values;
  switch (def["type"]) {
    case "pipe":
      return partsOf(def["out"], value);
    case "optional":
    case "default":
    case "prefault":
      return partsOf(def["innerType"], value);
    case "object":
      return { shape: def["shape"] as Values };
    case "array":
      return { element: def["element"] };
    case "union": {
      const options = def["options"] as z.ZodObject[];
      const type = (value as Values)["type"];
      const option = options.find(({ shape }) => (shape["type"] as z.ZodLiteral)?.value === type);
      return option ? partsOf(option, value) : {};
    }
    default:
      return {};
  }
}
