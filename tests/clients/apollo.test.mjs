// Apollo's client over WebSocket and over multipart HTTP, urql's over WebSocket, and the client of the older protocol.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApolloClient, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { Client, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-ws";
import { SubscriptionClient } from "subscriptions-transport-ws";
import WebSocket from "ws";
import { PATIENCE, Reading } from "./reading.mjs";
import { Service } from "./service.mjs";

let service;

before(async () => { service = await Service.start(); });
after(() => service.stop());

function socket(t) {
  const made = createClient({ url: service.ws, webSocketImpl: WebSocket, retryAttempts: 0 });
  t.after(() => made.dispose());
  return made;
}

function apollo(t, link) {
  const made = new ApolloClient({ link, cache: new InMemoryCache() });
  t.after(() => made.stop());
  return (query, variables) => {
    const reading = new Reading();
    const subscription = made.subscribe({ query: gql(query), variables, fetchPolicy: "no-cache" }).subscribe(reading.sink);
    reading.end = () => subscription.unsubscribe();
    return reading;
  };
}

const LINKS = {
  socket: (t) => new GraphQLWsLink(socket(t)),
  parts: () => new HttpLink({ uri: service.url }),
};

for (const [name, link] of Object.entries(LINKS)) {
  test(`Apollo over ${name}: results arrive in order and end with the client`, PATIENCE, async (t) => {
    const channel = `${name}Shape`;
    const reading = apollo(t, link(t))(`subscription ($a: Int) { ${channel}(a: $a) { id text __typename } }`, { a: 1 });
    await service.subscriptions(channel, 1);
    const text = "\r\n--graphql--\r\n";
    for (const id of [1, 2, 3]) await service.publish(channel, { __typename: "Shape", id, text, secret: 1 });
    const expected = [1, 2, 3].map((id) => ({ [channel]: { __typename: "Shape", id, text } }));
    assert.deepEqual((await reading.have(3)).map(({ data }) => data), expected);
    assert.deepEqual(reading.results.map(({ error }) => error), [undefined, undefined, undefined]);
    reading.end();
    await service.subscriptions(channel, 0);
  });

  test(`Apollo over ${name}: what a resolver fails with is an error of its result`, PATIENCE, async (t) => {
    const query = "subscription ($hello: String!, $fail: Boolean) { greeting(hello: $hello, fail: $fail) { text } }";
    const reading = apollo(t, link(t))(query, { hello: "Hei", fail: true });
    await service.subscriptions("orders", 1);
    await service.publish("orders", { id: 42 });
    const [failed] = await reading.have(1);
    assert.match(failed.error.message, /no greeting today/);
    reading.end();
    await service.subscriptions("orders", 0);
  });

  test(`Apollo over ${name}: what is wrong with an operation reaches the client`, PATIENCE, async (t) => {
    const reading = apollo(t, link(t))("subscription { one { id } two { id } }");
    await reading.until(() => reading.ended || reading.results.length);
    const error = reading.ended?.error ?? reading.results[0].error;
    assert.ok(error.message ?? error[0].message);
  });
}

test("urql over graphql-ws: results arrive in order and end with the client", PATIENCE, async (t) => {
  const made = socket(t);
  const urql = new Client({
    url: service.url,
    preferGetMethod: false,
    exchanges: [
      subscriptionExchange({
        forwardSubscription: (request) => ({
          subscribe: (sink) => ({ unsubscribe: made.subscribe(request, sink) }),
        }),
      }),
    ],
  });
  const reading = new Reading();
  const { unsubscribe } = urql.subscription("subscription ($a: Int) { urqlShape(a: $a) { id } }", { a: 1 })
    .subscribe(reading.sink.next);
  await service.subscriptions("urqlShape", 1);
  for (const id of [1, 2, 3]) await service.publish("urqlShape", { id, secret: 1 });
  assert.deepEqual((await reading.have(3)).map(({ data }) => data.urqlShape.id), [1, 2, 3]);
  assert.deepEqual(reading.results.map(({ error }) => error), [undefined, undefined, undefined]);
  unsubscribe();
  await service.subscriptions("urqlShape", 0);
});

test("the client of the older protocol: results, an error and the end", PATIENCE, async (t) => {
  const made = new SubscriptionClient(service.ws, { reconnect: false }, WebSocket);
  t.after(() => made.close());
  const ask = (query) => {
    const reading = new Reading();
    const subscription = made.request({ query }).subscribe(reading.sink);
    reading.end = () => subscription.unsubscribe();
    return reading;
  };
  const reading = ask("subscription { oldShape { id } }");
  const broken = ask("subscription { one { id } two { id } }");
  await service.subscriptions("oldShape", 1);
  for (const id of [1, 2]) await service.publish("oldShape", { id, secret: 1 });
  assert.deepEqual((await reading.have(2)).map(({ data }) => data), [{ oldShape: { id: 1 } }, { oldShape: { id: 2 } }]);
  await broken.until(() => broken.ended);
  assert.ok(broken.ended.error.message);
  reading.end();
  await service.subscriptions("oldShape", 0);
});
