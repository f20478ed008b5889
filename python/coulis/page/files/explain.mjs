// The form that asks why an event would reach a live subscription, or why not.

const { ask, load, make, settings } = await import(import.meta.url.replace("explain.mjs", "page.mjs"));

const CHANNELS_MAX = 32;

const STEPS = {
  subscription: ["Subscription", "it is live"],
  channel: ["Channel", "it listens to this channel"],
  event_type: ["Event type", "it takes events of this type"],
  policy: ["Policies", "tenant, owner and policies let it through"],
  breaker: ["Errors"],
  rate: ["Rates"],
  ring: ["Room"],
  delivered: ["Delivered", "it gets the event"],
};

function field(label, input, hint) {
  const name = make("label", { htmlFor: input.id }, label);
  return make("div", { className: "field" }, name, input, ...(hint ? [make("small", {}, hint)] : []));
}

/** A text of JSON, or nothing where there is none; says which field it is that cannot be read. */
function json(input, label) {
  if (input.value.trim() === "") return null;
  try {
    return JSON.parse(input.value);
  } catch (error) {
    throw new Error(`${label} is no JSON: ${error.message}`);
  }
}

/** The subscription fields of the schema, which name channels; none where no schema is shown. */
async function fieldsOfSchema() {
  const answer = settings.schema ? await ask("?page=schema") : undefined;
  if (!answer?.ok) return [];
  const [{ buildSchema }, text] = await Promise.all([load("graphiql.js"), answer.text()]);
  const fields = buildSchema(text, { assumeValidSDL: true }).getSubscriptionType()?.getFields();
  return Object.keys(fields ?? {});
}

export class Explain {
  constructor() {
    const text = (id, value = "", placeholder = "") =>
      make("input", { id, value, placeholder, autocomplete: "off", spellcheck: false });
    const area = (id, value, rows) => make("textarea", { id, value, rows, spellcheck: false });
    this.channel = text("explain-channel");
    this.channel.setAttribute("list", "explain-channels");
    this.channels = make("datalist", { id: "explain-channels" });
    this.subscription = make("select", { id: "explain-subscription" });
    this.type = text("explain-type", "changed");
    this.tenant = text("explain-tenant", "", "none");
    this.user = text("explain-user", "", "none");
    this.data = area("explain-data", '{\n  "id": 1\n}', 5);
    this.before = area("explain-before", "", 2);
    this.before.placeholder = "none";
    this.verdict = make("div", { className: "verdict", role: "status" });
    const again = make("button", { type: "button", className: "quiet" }, "Find subscriptions");
    again.addEventListener("click", () => this.refresh());
    this.channel.addEventListener("change", () => this.refresh());
    const where = make("div", { className: "half" },
      field("Channel", this.channel, "The root field of the subscription, unless it is declared otherwise."), this.channels,
      field("Live subscription", this.subscription),
      make("div", { className: "third" }, field("Event type", this.type), field("Its tenant", this.tenant),
        field("Its user", this.user)));
    const what = make("div", { className: "half" },
      field("Event, as JSON", this.data), field("Its data before the change, as JSON", this.before));
    const form = make("form", {}, make("div", { className: "halves" }, where, what),
      make("p", { className: "actions" }, make("button", {}, "Explain"), again));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#explain();
    });
    const intro = "Nothing is published: the engine says which step would deliver the event, or which withholds it.";
    this.node = make("section", { className: "card explain" },
      make("h2", {}, "Explain"), make("p", { className: "note" }, intro),
      form, this.verdict);
    this.#say("Choose a subscription and an event.");
  }

  /** Look for live subscriptions on the channel that is written, and on those that the service knows. */
  async refresh() {
    const written = this.channel.value.trim();
    const wanted = [...(written ? [written] : []), ...(await fieldsOfSchema())].slice(0, CHANNELS_MAX);
    const query = new URLSearchParams([["console", "subscriptions"], ...wanted.map((name) => ["channel", name])]);
    const answer = await ask(`?${query}`);
    if (!answer.ok) return;
    const found = await answer.json();
    this.channels.replaceChildren(...found.map(({ channel }) => make("option", { value: channel })));
    if (!written) {
      const busiest = found.filter(({ count }) => count > 0).sort((one, other) => other.count - one.count)[0];
      this.channel.value = (busiest ?? found[0])?.channel ?? "";
    }
    const here = found.find(({ channel }) => channel === this.channel.value.trim());
    const kept = this.subscription.value;
    const options = (here?.ids ?? []).map((id) => make("option", { value: id }, id));
    if (options.length === 0) options.push(make("option", { value: "" }, "none on this channel"));
    this.subscription.replaceChildren(...options);
    if (here?.ids.includes(kept)) this.subscription.value = kept;
  }

  async #explain() {
    try {
      const body = {
        subscription: this.subscription.value,
        channel: this.channel.value.trim(),
        event_type: this.type.value.trim(),
        tenant_id: this.tenant.value.trim() || null,
        user_id: this.user.value.trim() || null,
        data: json(this.data, "The event"),
        before: json(this.before, "What was before"),
      };
      if (!body.subscription) throw new Error("There is no live subscription on this channel: start one, and find it again.");
      const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
      const answer = await ask("?console=explain", options);
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.errors[0].message);
      this.#tell(told);
    } catch (error) {
      this.#say(error.message, "bad");
    }
  }

  #tell({ step, message, rule, line, column, road }) {
    const steps = road.map(({ step: name, passed }) => {
      const [title, fine] = STEPS[name] ?? [name, ""];
      const place = line ? ` (line ${line}, column ${column})` : "";
      const why = passed ? (step === "tombstone" && name === "delivered" ? message : fine) : `${message}${rule ? place : ""}`;
      const mark = make("span", { className: "mark", ariaHidden: "true" }, passed ? "✓" : "✕");
      const outcome = make("span", { className: "unseen" }, passed ? "passed: " : "withheld: ");
      return make("li", { className: passed ? "passed" : "withheld" }, mark, outcome, make("b", {}, title), make("span", {}, why));
    });
    const delivered = road.at(-1).passed;
    const heading = make("h3", { className: delivered ? "good" : "bad" }, delivered ? "Delivered" : "Not delivered");
    this.verdict.replaceChildren(heading, make("ol", { className: "road" }, ...steps));
  }

  #say(text, kind = "") {
    this.verdict.replaceChildren(make("p", { className: kind }, text));
  }
}
