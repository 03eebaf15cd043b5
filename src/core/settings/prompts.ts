import { createInterface, type Interface } from "node:readline";
import { Writable } from "node:stream";

/**
 * Asks the person at the terminal, or whatever feeds standard input, one line at a time. Opened by
 * the first question, since most settings ask nothing and standard input is not ours to touch then.
 * Questions go to standard error, because standard output belongs to the command.
 */
export class Prompts implements Disposable {
  #lines: Interface | undefined;
  #answers: AsyncIterator<string> | undefined;
  #hidden = false;
  #ended = false;
  readonly #input: NodeJS.ReadableStream & { isTTY?: boolean | undefined };
  readonly #output: NodeJS.WritableStream;

  constructor(
    input: NodeJS.ReadableStream & { isTTY?: boolean | undefined } = process.stdin,
    output: NodeJS.WritableStream = process.stderr,
  ) {
    this.#input = input;
    this.#output = output;
  }

  /** The answer, or nothing if the input ends first. A hidden answer does not appear on the screen. */
  async ask(question: string, { hidden }: { hidden: boolean }): Promise<string | undefined> {
    this.#lines ??= this.#open();
    this.#answers ??= this.#lines[Symbol.asyncIterator]();
    // Behind the end of the input there is nobody to prompt, and lines that came before it still count.
    if (this.#ended) this.#output.write(question);
    else {
      this.#lines.setPrompt(question);
      this.#lines.prompt();
    }
    this.#hidden = hidden;
    const { value, done } = await this.#answers.next();
    this.#hidden = false;
    if (hidden || !this.#input.isTTY) this.#output.write("\n");
    return done ? undefined : value;
  }

  #open(): Interface {
    // With `terminal`, what is typed appears only because readline writes it: here it can be held back.
    const screen = new Writable({
      write: (chunk, _, done) => {
        if (!this.#hidden) this.#output.write(chunk);
        done();
      },
    });
    const terminal = this.#input.isTTY === true;
    const lines = createInterface({ input: this.#input, output: screen, terminal, historySize: 0 });
    lines.on("close", () => {
      this.#ended = true;
    });
    return lines.on("SIGINT", () => {
      lines.close();
      process.kill(process.pid, "SIGINT");
    });
  }

  [Symbol.dispose](): void {
    this.#lines?.close();
  }
}
