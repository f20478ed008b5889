// The reference client of graphql-transport-ws against the FastAPI router on uvicorn.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { Service } from "./service.mjs";

const PATIENCE = { timeout: 20_000 };
let service;

before(async () => { service = await Service.start(); });
after(() => service.stop());

/** A client of one test; `closes` are the codes of its closed sockets, `opened` their number. */
function client(t) {
  const seen = { opened: 0, closes: [] };
  const made = createClient({
    url: service.ws,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    lazy: true,
    on: {
      opened: () => { seen.opened += 1; },
      closed: (event) => seen.closes.push(event.code),
    },
  });
  t.after(() => made.dispose());
  return { seen, iterate: (query, variables) => made.iterate({ query, variables }) };
}

/** The next result without its cursor, which differs from event to event. */
const data = async (events) => {
  const { value } = await events.next();
  if (value?.extensions?.coulis?.cursor) delete value.extensions;
  return value;
};

test("events arrive in order, shaped by the selection set", PATIENCE, async (t) => {
  const events = client(t).iterate("subscription { shape { id customer: buyer { name } __typename } }");
  const first = data(events);
  await service.subscriptions("shape", 1);
  for (const id of [1, 2, 3]) {
    assert.equal(await service.publish("shape", { __typename: "Shape", id, buyer: { name: "Ada", card: "no" } }), 1);
  }
  for (const [id, got] of [[1, await first], [2, await data(events)], [3, await data(events)]]) {
    assert.deepEqual(got, { data: { shape: { id, customer: { name: "Ada" }, __typename: "Shape" } } });
  }
  await events.return();
});

test("two operations share one socket, each with its own events", PATIENCE, async (t) => {
  const { seen, iterate } = client(t);
  const left = iterate("subscription { left { id } }");
  const right = iterate("subscription { right { id } }");
  const [fromLeft, fromRight] = [data(left), data(right)];
  await service.subscriptions("left", 1);
  await service.subscriptions("right", 1);
  await service.publish("right", { id: "r" });
  await service.publish("left", { id: "l" });
  assert.deepEqual(await fromLeft, { data: { left: { id: "l" } } });
  assert.deepEqual(await fromRight, { data: { right: { id: "r" } } });
  assert.equal(seen.opened, 1);
  await left.return();
  await right.return();
});

test("an operation that is refused leaves the socket and the others alone", PATIENCE, async (t) => {
  const { seen, iterate } = client(t);
  const good = iterate("subscription { alive { id } }");
  const event = data(good);
  await service.subscriptions("alive", 1);
  await assert.rejects(data(iterate("subscription { broken {")), (errors) => {
    assert.ok(Array.isArray(errors) && errors[0].message, "a list of GraphQL errors");
    return true;
  });
  await service.publish("alive", { id: 7 });
  assert.deepEqual(await event, { data: { alive: { id: 7 } } });
  assert.deepEqual([seen.opened, seen.closes], [1, []]);
  await good.return();
});

test("after complete nothing is subscribed any more, and the other operation goes on", PATIENCE, async (t) => {
  const { seen, iterate } = client(t);
  const ending = iterate("subscription { ending { id } }");
  const staying = iterate("subscription { staying { id } }");
  const [fromEnding, fromStaying] = [data(ending), data(staying)];
  await service.subscriptions("ending", 1);
  await service.subscriptions("staying", 1);
  await service.publish("ending", { id: 1 });
  assert.deepEqual(await fromEnding, { data: { ending: { id: 1 } } });
  await ending.return();
  await service.subscriptions("ending", 0);
  assert.equal(await service.publish("ending", { id: 2 }), 0);
  await service.publish("staying", { id: 3 });
  assert.deepEqual(await fromStaying, { data: { staying: { id: 3 } } });
  assert.deepEqual(seen.closes, []);
  await staying.return();
});

test("a query, a mutation and an async generator each end by themselves", PATIENCE, async (t) => {
  const { iterate } = client(t);
  for (const kind of ["query", "mutation"]) {
    const asked = iterate(`${kind} ($name: String) { hello(name: $name) }`, { name: "é" });
    assert.deepEqual((await asked.next()).value, { data: { hello: "é" } });
    assert.equal((await asked.next()).done, true);
  }
  const counted = [];
  const query = "subscription ($from: Int!) { countdown(from: $from) }";
  for await (const { data } of iterate(query, { from: 3 })) counted.push(data.countdown);
  assert.deepEqual(counted, [3, 2, 1]);
});

test("variables reach the resolver, and its failure is an error without data", PATIENCE, async (t) => {
  const { iterate } = client(t);
  const query = "subscription ($hello: String!, $fail: Boolean) { greeting(hello: $hello, fail: $fail) { text } }";
  const good = iterate(query, { hello: "Hei" });
  const bad = iterate(query, { hello: "Hei", fail: true });
  const [fromGood, fromBad] = [data(good), data(bad)];
  await service.subscriptions("orders", 2);
  await service.publish("orders", { id: 42, secret: "s" });
  assert.deepEqual(await fromGood, { data: { greeting: { text: "Hei 42" } } });
  const failed = await fromBad;
  assert.equal(failed.data, null);
  assert.match(failed.errors[0].message, /no greeting today/);
  await good.return();
  await bad.return();
});

test("a client that goes away leaves nothing behind", PATIENCE, async (t) => {
  const { iterate } = client(t);
  const events = iterate("subscription { leaving { id } }");
  data(events).catch(() => {});
  await service.subscriptions("leaving", 1);
  await events.return();
  await service.subscriptions("leaving", 0);
});

test("a client that was cut off resumes by itself, with nothing but its extensions", PATIENCE, async (t) => {
  const sockets = [];
  const payload = { query: "subscription { shape { id } }", extensions: { coulis: { resume: null } } };
  const made = createClient({
    url: service.ws,
    webSocketImpl: class extends WebSocket {
      constructor(...given) {
        super(...given);
        sockets.push(this);
      }
    },
    retryAttempts: 5,
    retryWait: async () => {},
    shouldRetry: () => true,
    lazy: true,
  });
  t.after(() => made.dispose());
  const [ids, resumed] = [[], []];
  let wake = () => {};
  const until = async (done) => { while (!done()) await new Promise((resolve) => { wake = resolve; }); };
  const end = made.subscribe(payload, {
    next: ({ data: result, extensions: { coulis } }) => {
      payload.extensions.coulis.resume = coulis.cursor;
      if (result) ids.push(result.shape.id);
      else resumed.push(coulis.resumed);
      wake();
    },
    error: (error) => t.assert.fail(error),
    complete: () => {},
  });
  await until(() => resumed.length === 1);
  const publish = (id) => service.publish("shape", { id });
  for (let round = 0; round < 3; round += 1) {
    const before = ids.length;
    await publish(before);
    await until(() => ids.length === before + 1);
    sockets.at(-1).terminate();
    // Nobody listens now, or a socket that is gone: these are missed.
    for (let missed = 1; missed < 20; missed += 1) await publish(before + missed);
    await until(() => ids.length === before + 20);
  }
  t.assert.deepEqual(ids, Array.from({ length: 60 }, (_, id) => id));
  t.assert.deepEqual(resumed, [false, true, true, true]);
  end();
});
