// Starts the service under test, and speaks to it over HTTP.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export class Service {
  static async start() {
    const python = process.env.PYTHON ?? "python3";
    const child = spawn(python, [new URL("server.py", import.meta.url).pathname], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const line = once(createInterface(child.stdout), "line");
    const ended = once(child, "exit").then(() => {
      throw new Error("the service did not start: its output is above");
    });
    const [port] = await Promise.race([line, ended]);
    ended.catch(() => {});
    return new Service(child, port);
  }

  constructor(child, port) {
    this.child = child;
    this.http = `http://127.0.0.1:${port}`;
    this.url = `${this.http}/graphql/subscriptions`;
    this.ws = `ws://127.0.0.1:${port}/graphql/subscriptions`;
  }

  /** Answers how many deliveries the event became. */
  async publish(channel, data) {
    const answer = await fetch(`${this.http}/publish`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ channel, data }),
    });
    if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** Waits until `channel` has `count` subscriptions: the protocol does not acknowledge them. */
  async subscriptions(channel, count) {
    while ((await (await fetch(`${this.http}/subscriptions/${channel}`)).json()) !== count);
  }

  async stop() {
    const exited = once(this.child, "exit");
    this.child.stdin.end();
    const [code] = await exited;
    if (code !== 0) throw new Error(`the service ended with ${code}`);
  }
}
