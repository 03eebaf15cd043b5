/**
 * The thread of the kernel engine. It knows wires and circuits by number and nothing of whose they are.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { Gate, Reading } from "./gate.ts";
import { loadLinux, MSG_DONTWAIT, MSG_NOSIGNAL } from "./linux.ts";
import type { Command, Report, Start } from "./messages.ts";
import { Pump } from "./pump.ts";
import { Reactor } from "./reactor.ts";
import { LEAVING, Wire } from "./wire.ts";

const port = parentPort;
if (!port) throw new Error("this is started as a thread of the kernel engine");

const linux = await loadLinux();
const reactor = new Reactor(linux, workerData as Start, {
  receive: () => receiveMessageOnPort(port)?.message as Command[] | undefined,
  send: (reports: Report[]) => port.postMessage(reports),
});
const pump = new Pump(reactor);
const reading = new Reading(reactor);
const gates = new Map<number, Gate>();

/** Wires that wait for the main thread to say what becomes of them. */
const waiting = new Map<number, Wire>();
const waitingRoom = {
  onEvents(wire: Wire, events: number): void {
    if (events & LEAVING) wire.leaving = true; // and whoever reads it next finds out what happened
  },
};

const deps = {
  reactor,
  reading,
  heard(wire: Wire): void {
    wire.keeper = waitingRoom;
    waiting.set(wire.descriptor, wire);
  },
};

/** Undefined if it does not wait (any more): one bad command must not cost all circuits. */
function fetch(descriptor: number): Wire | undefined {
  const wire = waiting.get(descriptor);
  waiting.delete(descriptor);
  return wire;
}

function hangUp(wire: Wire | undefined, last = ""): void {
  if (!wire) return;
  const bytes = Buffer.from(last, "latin1");
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  if (bytes.length > 0) linux.sendBytes(wire.descriptor, bytes, bytes.length, flags);
  reactor.close(wire.descriptor);
}

function obey(command: Command): void {
  switch (command[0]) {
    case "open":
      gates.set(command[1].number, new Gate(command[1], deps));
      break;
    case "limit":
      gates.get(command[1])?.limit(command[2]);
      break;
    case "close":
      gates.get(command[1])?.close();
      gates.delete(command[1]);
      break;
    case "adopt": {
      const [, descriptor, unread] = command;
      const wire = new Wire(descriptor, waitingRoom);
      if (unread) wire.unsent = Buffer.from(unread, "latin1");
      waiting.set(descriptor, wire);
      break;
    }
    case "pair": {
      const [, circuit, first, second, bytes_max] = command;
      const [caller, callee] = [fetch(first), fetch(second)];
      if (caller && callee) pump.pair(circuit, { caller, callee }, bytes_max);
      else {
        for (const wire of [caller, callee]) hangUp(wire);
        reactor.report(["over", circuit, "broken", "us"]);
      }
      break;
    }
    case "cut":
      pump.cut(command[1], command[2]);
      break;
    case "hang up":
      hangUp(fetch(command[1]), command[2]);
      break;
    case "stop":
      reactor.stop();
  }
}

reactor.report(["ready"]);
reactor.run({
  command: obey,
  due() {
    if (pump.busy) return 0;
    let due = Infinity;
    for (const gate of gates.values()) due = Math.min(due, gate.due);
    return due;
  },
  work() {
    pump.work();
    for (const gate of gates.values()) gate.look();
  },
});
