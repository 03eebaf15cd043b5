import type * as zmq from "zeromq";
import type { CameoPeers } from "./cameo.ts";

/*
 * A server of CAMEO as far as others notice it (seed-systems 4.4, 4.6): every request that a client or an
 * application may make of it, and what it publishes. It starts nothing: what an application would do by
 * itself, whoever plays it does.
 */

type ServerPorts = { responder: number; publisher: number; internal: number };
type Request = {
  type: number;
  id?: number;
  name?: string;
  key?: string;
  value?: string;
  port?: number;
  applicationState?: number;
  args?: string[];
  parameters?: string[];
  starter?: { id: number; name: string; server: string };
  starterProxyPort?: number;
};

type Application = {
  id: number;
  name: string;
  applicationState: number;
  pastApplicationStates: number;
  args: string[];
  pid: number;
};

/** Values of an answer that are no success (4.6). */
const UNKNOWN = -1;
const UNDEFINED = -2;
export const STATE = { STARTING: 1, RUNNING: 2, SUCCESS: 64, STOPPED: 128, KILLED: 256 } as const;
/** What it does itself, besides 1 to 37. */
const BASE_PORT = 7_000;
const STATUS_PORT = BASE_PORT + 1;
const STREAM_PORT = BASE_PORT + 2;
const FIRST_FREE = BASE_PORT + 3;

const ok = (value = 0, message = "OK"): object => ({ value, message });

export class CameoServer {
  /** What an application would be told in its last argument, of those that were started. */
  readonly started: Array<Pick<Request, "starter" | "starterProxyPort"> & { id: number }> = [];
  readonly #events: zmq.Publisher;
  readonly #ports: ServerPorts;
  readonly #known: readonly string[];
  readonly #applications = new Map<number, Application>();
  readonly #keys = new Map<string, string>();
  readonly #taken = new Map<number, { status: string; owner: string }>();
  #ids = 0;

  /** `known` are the applications that it can start, each of which has a stream. */
  constructor(peers: CameoPeers, ports: ServerPorts, known: readonly string[] = ["adder"]) {
    this.#ports = ports;
    this.#known = known;
    this.#events = peers.publisher(ports.internal);
    peers.responder(ports.responder, "0:0", ([json, ...data]) => [
      [JSON.stringify(this.#answer(JSON.parse(String(json)), data))],
    ]);
  }

  #answer(request: Request, data: Buffer[]): object {
    const { responder, publisher, internal } = this.#ports;
    const { name = "", id = 0, args = [], port = 0 } = request;
    switch (request.type) {
      case 1: // SYNC
        this.#publish("status", {
          id: -1,
          name: "",
          applicationState: 0,
          pastApplicationStates: 0,
        });
        return ok();
      case 2: // SYNC_STREAM
        this.#publish(`stream:${name}`, { type: 2 });
        return ok();
      case 3: {
        // START
        if (!this.#known.includes(name)) return ok(UNKNOWN);
        const started = this.#begin(name, args);
        const { starter, starterProxyPort = 0 } = request;
        this.started.push({ id: started.id, starterProxyPort, ...(starter && { starter }) });
        return ok(started.id);
      }
      case 4: // STOP
        return this.#end(id, STATE.STOPPED);
      case 12: // KILL
        return this.#end(id, STATE.KILLED);
      case 5: // CONNECT
        return this.#info((each) => each.name === name);
      case 6: // CONNECT_WITH_ID
        return this.#info((each) => each.id === id);
      case 7: // APPS
        return this.#info(() => true);
      case 8: // OUTPUT_PORT
        return ok(this.#known.includes(name) ? STREAM_PORT : UNKNOWN);
      case 9: // OUTPUT_PORT_WITH_ID
        return ok(this.#applications.has(id) ? STREAM_PORT : UNKNOWN);
      case 10: // IS_ALIVE
        return { isAlive: this.#applications.has(id) };
      case 11: // WRITE_INPUT; what an application hears it also says
        return this.#of(id, (each) => {
          for (const message of request.parameters ?? [])
            this.#publish(`stream:${each.name}`, { type: 34, id, message, eol: true });
          return ok();
        });
      case 13: // STATUS
        return ok(STATUS_PORT);
      case 14: // LIST
        return {
          applicationConfig: this.#known.map((each) => ({
            name: each,
            description: "",
            runsSingle: false,
            multiple: 0,
            restart: false,
            startingTime: 0,
            stoppingTime: 0,
          })),
        };
      case 15: // SET_STATUS
        if (request.applicationState !== STATE.RUNNING) return ok(UNKNOWN);
        return this.#of(id, (each) => {
          this.#become(each, STATE.RUNNING);
          return ok();
        });
      case 16: {
        // GET_STATUS
        const found = this.#applications.get(id);
        const nothing = { id, name: "?", applicationState: 0, pastApplicationStates: 0 };
        return found ? statusOf(found) : nothing;
      }
      case 36: // RESPONDER_PROXY_PORT, and PING as well (C1)
        return ok(responder);
      case 17: // PUBLISHER_PROXY_PORT
        return ok(publisher);
      case 18: // SUBSCRIBER_PROXY_PORT
        return ok(internal);
      case 20: // SET_RESULT
        return this.#of(id, (each) => {
          this.#publish("result", { id, name: each.name }, ...data);
          return ok();
        });
      case 23: // ATTACH_UNREGISTERED
        return ok(this.#begin(name, []).id);
      case 24: // DETACH_UNREGISTERED
        return this.#of(id, (each) => {
          this.#become(each, STATE.SUCCESS);
          this.#applications.delete(id);
          return ok();
        });
      case 25: // IMPL_VERSION
        return { major: 1, minor: 0, revision: 0 };
      case 26:
      case 27:
      case 28:
        return this.#of(id, (each) => this.#keep(each, request));
      case 29: {
        // REQUEST_PORT
        let free = FIRST_FREE;
        while (this.#taken.has(free)) free += 1;
        this.#taken.set(free, { status: "assigned", owner: `${id}` });
        return ok(free);
      }
      case 30: // PORT_UNAVAILABLE
        this.#taken.set(port, { status: "unavailable", owner: "" });
        return ok();
      case 31: // RELEASE_PORT
        return ok(this.#taken.delete(port) ? 0 : UNKNOWN);
      case 32: // PORTS
        return { portInfo: [...this.#taken].map(([taken, how]) => ({ port: taken, ...how })) };
      case 33: // SET_STOP_HANDLER
        return this.#of(id, () => ok());
      default: // 19, 21, 22, 34, 35, 37 are between applications
        return ok(UNKNOWN, "unknown");
    }
  }

  #of(id: number, work: (application: Application) => object): object {
    const found = this.#applications.get(id);
    return found ? work(found) : ok(UNKNOWN);
  }

  #info(which: (each: Application) => boolean): object {
    return { applicationInfo: [...this.#applications.values()].filter(which) };
  }

  #begin(name: string, args: string[]): Application {
    this.#ids += 1;
    const id = this.#ids;
    const begun = { id, name, applicationState: 0, pastApplicationStates: 0, args, pid: id };
    this.#applications.set(id, begun);
    this.#become(begun, STATE.STARTING);
    return begun;
  }

  #end(id: number, state: number): object {
    return this.#of(id, (each) => {
      this.#publish(`stream:${each.name}`, { type: 35, id });
      this.#become(each, state);
      this.#applications.delete(id);
      return ok(0, each.name);
    });
  }

  #become(application: Application, state: number): void {
    application.pastApplicationStates |= application.applicationState;
    application.applicationState = state;
    this.#publish("status", statusOf(application));
  }

  /** STORE_KEY_VALUE, GET_KEY_VALUE, REMOVE_KEY. */
  #keep({ id, name }: Application, { type, key = "", value = "" }: Request): object {
    const place = `${id} ${key}`;
    const found = this.#keys.get(place);
    if ((type === 26) === (found !== undefined)) return ok(UNDEFINED);
    if (type === 27) return ok(0, found ?? "");
    if (type === 26) this.#keys.set(place, value);
    else this.#keys.delete(place);
    this.#publish("keyvalue", { id, name, status: type, key, value: found ?? value });
    return ok();
  }

  #publish(topic: string, event: object, ...data: Buffer[]): void {
    void this.#events.send([topic, JSON.stringify(event), ...data]);
  }
}

function statusOf({ id, name, applicationState, pastApplicationStates }: Application) {
  return { id, name, applicationState, pastApplicationStates };
}
