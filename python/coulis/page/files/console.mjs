// The live console: what the service counts, as tiles and charts that move each second.

const sibling = (name) => import(import.meta.url.replace("console.mjs", name));
const { ask, identity, make, tell } = await sibling("page.mjs");
const [{ Chart }, { Explain }] = await Promise.all([sibling("chart.mjs"), sibling("explain.mjs")]);

const SPAN = 120;
const INTERVAL = 1000;

const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
const whole = new Intl.NumberFormat("en");
const two = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });

const count = (value) => (value >= 10 && value < 1e5 ? whole.format(Math.round(value)) : number.format(value));
const percent = (value) => `${number.format(value)} %`;
const bytes = (value) => `${number.format(value / 2 ** 20)} MiB`;

/** Seconds as people read them. */
function time(seconds) {
  if (seconds === 0) return "0";
  if (seconds < 1e-3) return `${two.format(seconds * 1e6)} µs`;
  return seconds < 1 ? `${two.format(seconds * 1e3)} ms` : `${two.format(seconds)} s`;
}

/** The value below which `share` of what a histogram has counted lies; nothing if that is nothing. */
export function quantile(bounds, counts, share) {
  const total = counts.reduce((sum, each) => sum + each, 0);
  if (total === 0) return undefined;
  let left = total * share;
  for (const [at, each] of counts.entries()) {
    left -= each;
    if (left <= 1e-9) return bounds[Math.min(at, bounds.length - 1)];
  }
  return bounds.at(-1);
}

/** Rates and values at one moment, from two looks at what is counted. */
export function measured(now, before) {
  const seconds = before ? now.time - before.time : 0;
  const { metrics } = now;
  // A service that was started anew counts from 0.
  const rate = (name, is = metrics, was = before?.metrics) =>
    seconds > 0 && was && is[name] >= was[name] ? (is[name] - was[name]) / seconds : undefined;
  const { bounds, counts } = now.publishing;
  const grown = before ? counts.map((each, at) => Math.max(0, each - before.publishing.counts[at])) : [];
  const loads = Object.entries(now.shards ?? {}).map(([name, cpu]) =>
    seconds > 0 && name in (before.shards ?? {}) ? Math.max(0, (100 * (cpu - before.shards[name])) / seconds) : undefined);
  const shards = metrics.shards.map((is, at) => {
    const was = before?.metrics.shards[at];
    return { ...is, events: rate("published", is, was), deliveries: rate("delivered", is, was), load: loads[at] };
  });
  return {
    connections: now.connections.open,
    subscriptions: metrics.subscriptions,
    events: rate("published"),
    deliveries: rate("delivered"),
    median: quantile(bounds, grown, 0.5),
    slowest: quantile(bounds, grown, 0.99),
    delay: now.loop_delay,
    dropped: rate("dropped"),
    failed: rate("failed"),
    limited: rate("rate_limited"),
    denied: rate("denied"),
    pending: metrics.pending,
    cpu: seconds > 0 ? (100 * (now.process.cpu - before.process.cpu)) / seconds : undefined,
    loads,
    shards,
  };
}

const CHARTS = [
  {
    title: "Throughput",
    series: { "events/s": "events", "deliveries/s": "deliveries" },
    format: count,
    note: "Events that were published, and results that readers took.",
  },
  {
    title: "Latency",
    series: { "publish p99": "slowest", "publish p50": "median", "loop delay": "delay" },
    format: time,
    floor: 1e-4,
    note: "From publish_event until all deliveries are readable; a turn of the event loop.",
  },
  {
    title: "Lost and withheld",
    series: { "dropped/s": "dropped", "failed/s": "failed", "rate limited/s": "limited", "denied/s": "denied" },
    format: count,
    note: "Dropped by full rings, which readers are told; denied by a policy, as meant.",
  },
  {
    title: "Connections",
    series: { subscriptions: "subscriptions", connections: "connections" },
    format: count,
    note: "WebSockets and answers over HTTP that are open, and what is subscribed to.",
  },
  {
    title: "Waiting",
    series: { "deliveries that wait": "pending" },
    format: count,
    note: "Matched, and not yet taken by a resolver or a reader.",
  },
];

const TILES = {
  connections: ["Connections", count],
  subscriptions: ["Subscriptions", count],
  events: ["Events/s", count],
  deliveries: ["Deliveries/s", count],
  slowest: ["Publish p99", time],
  lost: ["Dropped in all", count],
};

const SHARD = {
  "In its inbox": ["waiting", count],
  "Events/s": ["events", count],
  "Deliveries/s": ["deliveries", count],
  Subscriptions: ["subscriptions", count],
  Load: ["load", percent],
};

class Console {
  constructor(host) {
    this.history = [];
    this.tiles = {};
    const tiles = Object.entries(TILES).map(([key, [label]]) => {
      this.tiles[key] = make("dd", { id: `tile-${key}` }, "–");
      return make("div", {}, make("dt", {}, label), this.tiles[key]);
    });
    this.charts = CHARTS.map(({ series, ...rest }) => ({
      keys: Object.values(series),
      chart: new Chart({ ...rest, series: Object.keys(series), span: SPAN }),
    }));
    this.grid = make("div", { className: "charts" }, ...this.charts.map(({ chart }) => chart.node));
    this.rows = make("tbody");
    this.shardRows = make("tbody");
    this.summary = make("p", { className: "note" });
    this.gate = this.#gate();
    this.explain = new Explain();
    this.body = make("div", {},
      make("section", { ariaLabel: "Now" }, make("dl", { className: "tiles" }, ...tiles)),
      make("section", { ariaLabel: "Charts" }, this.grid),
      this.#table("Shards", ["Shard", ...Object.keys(SHARD)], this.shardRows),
      this.explain.node,
      this.#table("Connections", ["From", "User", "Tenant", "Over", "Open for", "Lost"], this.rows),
      this.summary);
    host.replaceChildren(make("h1", { className: "unseen" }, "Live console"), this.gate, this.body);
    this.body.hidden = true;
  }

  #table(title, names, rows) {
    const columns = names.map((name) => make("th", { scope: "col" }, name));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...columns)), rows);
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: title }, table);
    return make("section", { className: "card" }, make("h2", {}, title), scroll);
  }

  #gate() {
    const text = make("textarea", { id: "gate-headers", rows: 4, spellcheck: false });
    text.placeholder = '{"Authorization": "Bearer …"}';
    this.why = make("p", { role: "alert" });
    const form = make("form", { className: "card gate", hidden: true },
      make("h2", {}, "Who are you?"), this.why,
      make("label", { htmlFor: "gate-headers" }, "Headers to send, as JSON"), text,
      make("button", {}, "Look again"));
    this.text = text;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      identity.text = text.value;
      if (identity.headers === undefined) this.why.textContent = "These headers are no JSON object.";
      else this.look();
    });
    return form;
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.look();
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
  }

  /** Look once, and again in a second. */
  async look() {
    clearTimeout(this.timer);
    let next = INTERVAL;
    try {
      if (!document.hidden) next = (await this.#ask()) ? INTERVAL : undefined;
    } catch {
      this.history.push(undefined);
      this.before = undefined;
      tell("the service cannot be reached", "bad");
    }
    clearTimeout(this.timer);
    if (this.running && next !== undefined) this.timer = setTimeout(() => this.look(), next);
  }

  /** Ask for what is counted now; answer whether to go on. */
  async #ask() {
    const answer = await ask("?console");
    if (!this.running) return false;
    if ([401, 403, 404, 500].includes(answer.status)) {
      this.#refused(answer.status, (await answer.json()).errors[0].message);
      return false;
    }
    if (!answer.ok) throw new Error(answer.statusText);
    const now = await answer.json();
    const first = this.body.hidden;
    [this.gate.hidden, this.body.hidden] = [true, false];
    if (first) this.explain.refresh();
    this.#show(now);
    return true;
  }

  #refused(status, message) {
    [this.gate.hidden, this.body.hidden] = [false, true];
    this.why.textContent = `The server does not show the console to you: ${message} (${status}).`;
    if (!this.text.value) this.text.value = identity.text;
    tell("not let in", "bad");
  }

  #show(now) {
    const sample = measured(now, this.before);
    this.before = now;
    this.history = [...this.history, sample].slice(-SPAN);
    this.#chartShards(now.shards);
    for (const [key, [, format]] of Object.entries(TILES)) {
      const value = key === "lost" ? now.metrics.dropped : sample[key] ?? this.#last(key);
      this.tiles[key].textContent = value === undefined ? "–" : format(value);
    }
    this.tiles.lost.parentNode.classList.toggle("alarm", now.metrics.dropped > 0);
    for (const { keys, chart } of this.charts) {
      chart.draw(this.history.map((each) => keys.map((key) => (typeof key === "number" ? each?.loads[key] : each?.[key]))));
    }
    this.#tellShards(sample.shards);
    this.#name(now.connections);
    const { resident } = now.process;
    const bus = now.bus === null ? "no bus: events stay in this process" : `bus ${now.bus.connected ? "" : "not "}connected`;
    const memory = resident === null ? "" : ` · ${bytes(resident)}`;
    const cpu = sample.cpu === undefined ? "" : ` · CPU ${percent(sample.cpu)}`;
    this.summary.textContent = `coulis ${now.version} · ${bus}${memory}${cpu} · whole service, all apps of this manager`;
    tell(now.ready.ready ? "live" : now.ready.reason, now.ready.ready ? "good" : "bad");
  }

  /** The newest value that is known: seconds without an event have no latency. */
  #last(key) {
    return this.history.findLast((each) => each?.[key] !== undefined)?.[key];
  }

  #chartShards(shards) {
    const names = Object.keys(shards ?? {});
    if (this.shards || names.length === 0) return;
    this.shards = {
      keys: names.map((_, at) => at),
      chart: new Chart({
        title: "Load of shards",
        series: names.map((name) => `shard ${name}`),
        format: percent,
        span: SPAN,
        floor: 10,
        note: "Of each shard's thread. At rest, publishers do its work themselves.",
      }),
    };
    this.charts.push(this.shards);
    this.grid.append(this.shards.chart.node);
  }

  #tellShards(shards) {
    const rows = shards.map((shard, at) => make("tr", {},
      make("th", { scope: "row" }, String(at)),
      ...Object.values(SHARD).map(([key, format]) =>
        make("td", {}, shard[key] === undefined ? "–" : format(shard[key])))));
    this.shardRows.replaceChildren(...rows);
  }

  #name({ open, named }) {
    const rows = named.map((each) => make("tr", {}, ...[
      each.client ?? "–", each.user_id ?? "–", each.tenant_id ?? "–", each.transport,
      each.seconds === undefined ? "–" : `${whole.format(Math.round(each.seconds))} s`, whole.format(each.lost ?? 0),
    ].map((text) => make("td", {}, text))));
    const empty = rows.length === 0 ? "Nobody is connected." : open > rows.length ? `and ${open - rows.length} more` : "";
    if (empty) rows.push(make("tr", {}, make("td", { colSpan: 6, className: "empty" }, empty)));
    this.rows.replaceChildren(...rows);
  }
}

let shown;

/** Show the console in an element. */
export function enter(host) {
  shown ??= new Console(host);
  shown.start();
}

/** Ask no more: nobody looks. */
export function leave() {
  shown?.stop();
}
