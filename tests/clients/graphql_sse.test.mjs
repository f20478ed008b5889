// The reference client of GraphQL over SSE, in both modes, against the FastAPI router on uvicorn.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createClient } from "graphql-sse";
import { PATIENCE, Reading } from "./reading.mjs";
import { Service } from "./service.mjs";

let service;

before(async () => { service = await Service.start(); });
after(() => service.stop());

/** A client of one test; `cut` ends all its connections as a network would. */
function client(t, singleConnection) {
  const open = new Set();
  const made = createClient({
    url: service.url,
    singleConnection,
    retryAttempts: 5,
    retry: async () => {},
    fetchFn: async (url, { signal, ...options }) => {
      const control = new AbortController();
      signal?.addEventListener("abort", () => control.abort());
      const answer = await fetch(url, { ...options, signal: control.signal });
      if (answer.headers.get("content-type")?.startsWith("text/event-stream")) open.add(control);
      return answer;
    },
  });
  t.after(() => made.dispose());
  return {
    subscribe(request) {
      const reading = new Reading();
      reading.end = made.subscribe(request, reading.sink);
      return reading;
    },
    cut() {
      for (const control of open) control.abort();
      open.clear();
    },
  };
}

for (const [mode, single] of [["distinct connections", false], ["a single connection", true]]) {
  const name = single ? "single" : "distinct";

  test(`${mode}: events arrive in order, shaped by the selection set`, PATIENCE, async (t) => {
    const reading = client(t, single).subscribe({ query: `subscription { ${name}Shape { id buyer { name } } }` });
    await service.subscriptions(`${name}Shape`, 1);
    for (const id of [1, 2, 3]) {
      const data = { id, buyer: { name: "é🦀\n", card: "no" } };
      assert.equal(await service.publish(`${name}Shape`, data), 1);
    }
    const expected = [1, 2, 3].map((id) => ({ [`${name}Shape`]: { id, buyer: { name: "é🦀\n" } } }));
    assert.deepEqual((await reading.have(3)).map((result) => result.data), expected);
    reading.end();
    await service.subscriptions(`${name}Shape`, 0);
  });

  test(`${mode}: two operations, one of which ends`, PATIENCE, async (t) => {
    const { subscribe } = client(t, single);
    const left = subscribe({ query: `subscription { ${name}Left { id } }` });
    const right = subscribe({ query: `subscription { ${name}Right { id } }` });
    await service.subscriptions(`${name}Left`, 1);
    await service.subscriptions(`${name}Right`, 1);
    await service.publish(`${name}Left`, { id: "l" });
    assert.deepEqual((await left.have(1))[0].data, { [`${name}Left`]: { id: "l" } });
    left.end();
    await service.subscriptions(`${name}Left`, 0);
    await service.publish(`${name}Right`, { id: "r" });
    assert.deepEqual((await right.have(1))[0].data, { [`${name}Right`]: { id: "r" } });
    right.end();
  });

  test(`${mode}: variables reach the resolver, and its failure is a result`, PATIENCE, async (t) => {
    const { subscribe } = client(t, single);
    const query = "subscription ($hello: String!, $fail: Boolean) { greeting(hello: $hello, fail: $fail) { text } }";
    const reading = subscribe({ query, variables: { hello: "Hei", fail: true } });
    await service.subscriptions("orders", 1);
    await service.publish("orders", { id: 42 });
    const [failed] = await reading.have(1);
    assert.equal(failed.data, null);
    assert.match(failed.errors[0].message, /no greeting today/);
    reading.end();
    await service.subscriptions("orders", 0);
  });

  test(`${mode}: queries, mutations and generators are run, and end`, PATIENCE, async (t) => {
    const { subscribe } = client(t, single);
    for (const kind of ["query", "mutation"]) {
      const query = `${kind} ($name: String!) { hello(name: $name) }`;
      const reading = subscribe({ query, variables: { name: "é" } });
      await reading.until(() => reading.ended);
      assert.deepEqual([reading.results, reading.ended], [[{ data: { hello: "é" } }], {}]);
    }
    const query = "subscription ($from: Int!) { countdown(from: $from) }";
    const reading = subscribe({ query, variables: { from: 3 } });
    await reading.until(() => reading.ended);
    assert.deepEqual(reading.results.map(({ data }) => data.countdown), [3, 2, 1]);
  });

  test(`${mode}: a client that was cut off resumes by itself`, PATIENCE, async (t) => {
    const { subscribe, cut } = client(t, single);
    const channel = `${name}Resumed`;
    const request = { query: `subscription { ${channel} { id } }`, extensions: { coulis: { resume: null } } };
    const reading = subscribe(request);
    // What the client sends when it comes back is what this says then.
    reading.seen = ({ extensions: { coulis } }) => { request.extensions.coulis.resume = coulis.cursor; };
    const told = () => reading.results.filter(({ data }) => !data).map(({ extensions }) => extensions.coulis.resumed);
    const ids = () => reading.results.filter(({ data }) => data).map(({ data }) => data[channel].id);
    await reading.have(1);
    for (let round = 0; round < 3; round += 1) {
      const start = ids().length;
      await service.publish(channel, { id: start });
      await reading.until(() => ids().length === start + 1);
      cut();
      for (let missed = 1; missed < 20; missed += 1) await service.publish(channel, { id: start + missed });
      await reading.until(() => ids().length === start + 20 || reading.ended);
    }
    assert.deepEqual(ids(), Array.from({ length: 60 }, (_, id) => id));
    assert.deepEqual(told(), [false, true, true, true]);
    reading.end();
    await service.subscriptions(channel, 0);
  });
}

test("distinct connections: what is wrong with a document is a result with errors", PATIENCE, async (t) => {
  const reading = client(t, false).subscribe({ query: "subscription { broken {" });
  await reading.until(() => reading.ended);
  assert.equal(reading.ended.error, undefined);
  assert.ok(reading.results[0].errors[0].message);
});
