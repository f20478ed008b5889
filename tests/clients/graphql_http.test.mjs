// The audits of GraphQL over HTTP (the package graphql-http), against a graphql-core schema on uvicorn.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { serverAudits } from "graphql-http";
import { PATIENCE } from "./reading.mjs";
import { Service } from "./service.mjs";

let service;

before(async () => { service = await Service.start(); });
after(() => service.stop());

// Two endpoints: one that answers whoever asks, as the audits assume, and one with its defaults, which wants to see
// that no page of another origin sent a query by GET.
const ENDPOINTS = [
  ["with any GET", () => `${service.http}/graphql/open`, fetch],
  ["by default", () => `${service.http}/graphql/http`, (url, { headers, ...rest } = {}) =>
    fetch(url, { ...rest, headers: { ...headers, "graphql-require-preflight": "1" } })],
];

for (const [name, url, fetchFn] of ENDPOINTS) {
  const audits = serverAudits({ url, fetchFn });

  test(`${name}: there are 61 audits`, () => assert.equal(audits.length, 61));

  for (const audit of audits) {
    test(`${name}: ${audit.id}: ${audit.name}`, PATIENCE, async () => {
      const { status, reason } = await audit.fn();
      assert.equal(status, "ok", reason);
    });
  }
}

test("by default: a GET that a page could have sent unasked gets 403", PATIENCE, async () => {
  const answer = await fetch(`${service.http}/graphql/http?query=%7B__typename%7D`);
  assert.equal(answer.status, 403);
  assert.equal((await answer.json()).errors[0].extensions.code, "PREFLIGHT_REQUIRED");
});
