import type { Entry, PermissionEntry } from "./entry.ts";

/** Who may call whom. Pure: the entries say it all. */

/**
 * Only the first service with a method of this name counts, even if a later one would allow more
 * (eps-protocol 4.3). Its own permissions and the method's are good for the same.
 */
export function mayCall(caller: Entry, callee: Entry, method: string): boolean {
  for (const service of callee.services) {
    const found = service.methods.find(({ name }) => name === method);
    if (found)
      return [...service.permissions, ...found.permissions].some((each) => admits(each, caller));
  }
  return false;
}

function admits({ group, rights }: PermissionEntry, caller: Entry): boolean {
  return rights.includes("call") && (group === "*" || caller.groups.includes(group));
}

/**
 * Every group that a permission of the entry's services names, whatever the right. Their members
 * are worth a standing connection (eps-protocol 3.7); `*` is a name like any other here.
 */
export function groupsThatMayCall(entry: Entry): Set<string> {
  const permissions = entry.services.flatMap((service) => [
    ...service.permissions,
    ...service.methods.flatMap((method) => method.permissions),
  ]);
  return new Set(permissions.map(({ group }) => group));
}
