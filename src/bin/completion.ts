import type { Command } from "commander";

/** Scripts by which shells complete our commands and flags. Made once from the tree of commands. */

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** A place on the way through the commands, such as `eps sd`, and what may come next there. */
type Place = { path: string; words: { word: string; about: string }[] };

export function completionScript(root: Command, shell: Shell): string {
  const places = placesOf(root, root.name());
  switch (shell) {
    case "bash":
      return bash(root.name(), places);
    case "zsh":
      return zsh(root.name(), places);
    case "fish":
      return fish(root.name(), places);
  }
}

function placesOf(command: Command, path: string): Place[] {
  const children = command.commands.filter((child) => child.name() !== "help");
  const words = [
    ...children.map((child) => ({ word: child.name(), about: child.description() })),
    ...command.options.map(({ long, short, description }) => ({
      word: long ?? short ?? "",
      about: description,
    })),
    { word: "--help", about: "how to use it" },
    ...command.registeredArguments
      .flatMap(({ argChoices = [] }) => argChoices)
      .map((word) => ({ word, about: "" })),
  ];
  const below = children.flatMap((child) => [
    ...placesOf(child, `${path} ${child.name()}`),
    ...child.aliases().flatMap((alias) => placesOf(child, `${path} ${alias}`)),
  ]);
  return [{ path, words }, ...below];
}

/** Walks the words so far, flags and arguments aside, to the place where the next one is expected. */
function walk(places: Place[]): string {
  const known = places.slice(1).map(({ path }) => quoted(path));
  return `    case "$at $word" in
      ${known.join(" | ")}) at="$at $word" ;;
    esac`;
}

function bash(name: string, places: Place[]): string {
  const cases = places.map(
    ({ path, words }) =>
      `    ${quoted(path)}) words=${quoted(words.map((w) => w.word).join(" "))} ;;`,
  );
  return `_${name}_complete() {
  local at=${name} word words=
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
${walk(places)}
  done
  case "$at" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _${name}_complete ${name}
`;
}

function zsh(name: string, places: Place[]): string {
  const cases = places.map(({ path, words }) => {
    const described = words.map(({ word, about }) =>
      quoted(`${word.replaceAll(":", "\\:")}${about && `:${about}`}`),
    );
    return `    ${quoted(path)}) next=(${described.join(" ")}) ;;`;
  });
  return `#compdef ${name}
_${name}_complete() {
  local at=${name} word
  local -a next
  for word in "\${(@)words[2,CURRENT-1]}"; do
${walk(places)}
  done
  case "$at" in
${cases.join("\n")}
  esac
  _describe ${name} next
  _files
}
compdef _${name}_complete ${name}
`;
}

function fish(name: string, places: Place[]): string {
  const known = places.slice(1).map(({ path }) => quoted(path));
  const cases = places.map(({ path, words }) => {
    const lines = words.map(({ word, about }) => `${quoted(word)} ${quoted(about)}`);
    return `    case ${quoted(path)}
      printf '%s\\t%s\\n' ${lines.join(" ")}`;
  });
  return `function __${name}_complete
  set -l at ${name}
  for word in (commandline -opc)[2..]
    switch "$at $word"
      case ${known.join(" ")}
        set at "$at $word"
    end
  end
  switch "$at"
${cases.join("\n")}
  end
end
complete -c ${name} -a '(__${name}_complete)'
`;
}

/** For all three shells. None of our texts needs a quote, and one that had it would end here. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "’")}'`;
}
