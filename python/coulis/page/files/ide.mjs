// GraphiQL: all operations go over graphql-transport-ws to this endpoint; the schema comes from the engine.

const page = await import(import.meta.url.replace("ide.mjs", "page.mjs"));
const { address, ask, identity, load, settings, tell } = page;

const WELCOME = `# Everything goes over graphql-transport-ws to this endpoint.
# "Headers" go with connection_init: say there who you are.
# Ctrl-Enter runs, Ctrl-Space completes.

`;

const RETRIES = 5;
const STORED = "coulis:";

let vendored;
let client;
let clientFor;
let root;

/** The client whose connection was opened with the headers as they are now. */
function connected(headers) {
  const wanted = JSON.stringify(headers);
  if (client === undefined || clientFor !== wanted) {
    client?.dispose();
    const url = address("");
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    clientFor = wanted;
    client = vendored.createClient({
      url: url.href,
      connectionParams: headers,
      retryAttempts: RETRIES,
      on: {
        connecting: () => tell("connecting"),
        connected: () => tell("connected", "good"),
        closed: () => tell("not connected"),
      },
    });
  }
  return client;
}

/** Errors as GraphiQL shows them; a close has a code and a reason. */
function legible(error) {
  if (Array.isArray(error)) return error;
  const closed = error instanceof CloseEvent && error.code !== 1006;
  const message = closed ? `the server closed: ${error.code} ${error.reason}`.trim() : error?.message;
  return [{ message: message ?? "the server cannot be reached" }];
}

/** The operation to run, unless it is one that was in the editor a moment ago: GraphiQL reads late what is typed. */
function named(operation, query) {
  const there = new RegExp(`\\b(query|mutation|subscription)\\s+${operation}\\b`).test(query);
  return there ? operation : undefined;
}

/** Introspect the schema here, from the text that the server shows to those who may subscribe. */
async function introspected() {
  const answer = await ask("?page=schema");
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the schema is not shown: ${JSON.parse(text).errors[0].message}`);
  const schema = vendored.buildSchema(text, { assumeValidSDL: true });
  return { data: vendored.introspectionFromSchema(schema, { inputValueDeprecation: true }) };
}

function fetcher({ query, operationName, variables }, { headers } = {}) {
  if (settings.schema && operationName === "IntrospectionQuery") return introspected();
  const payload = { query, operationName: named(operationName, query), variables };
  return {
    subscribe(observer) {
      const sink = { ...observer, error: (error) => observer.error(legible(error)) };
      const unsubscribe = connected(headers ?? {}).subscribe(payload, sink);
      return { unsubscribe };
    },
  };
}

function storage() {
  // Not to mix with other pages of this host.
  const own = `${STORED}${location.pathname}:`;
  return {
    getItem: (key) => localStorage.getItem(own + key),
    setItem: (key, value) => localStorage.setItem(own + key, value),
    removeItem: (key) => localStorage.removeItem(own + key),
    get length() {
      return Object.keys(localStorage).filter((key) => key.startsWith(own)).length;
    },
    clear() {
      for (const key of Object.keys(localStorage)) if (key.startsWith(own)) localStorage.removeItem(key);
    },
  };
}

/** Show GraphiQL in an element. */
export async function enter(host) {
  tell("");
  if (root !== undefined) return;
  const styles = document.createElement("link");
  styles.rel = "stylesheet";
  styles.href = address("?page=graphiql.css").href;
  // Before the page's own, which says what is different here.
  document.head.querySelector("link[rel=stylesheet]").before(styles);
  const styled = new Promise((resolve) => styles.addEventListener("load", resolve));
  [vendored] = await Promise.all([load("graphiql.js"), styled]);
  root = vendored.createRoot(host);
  root.render(
    vendored.createElement(vendored.GraphiQL, {
      fetcher,
      storage: storage(),
      defaultQuery: WELCOME,
      forcedTheme: "system",
      defaultEditorToolsVisibility: true,
      inputValueDeprecation: true,
      // Without a text and without somebody who runs queries there is nothing to introspect.
      ...(settings.schema || settings.executes ? {} : { schema: null }),
      onEditHeaders: (text) => {
        identity.text = text;
      },
    }),
  );
}

/** Nothing: subscriptions go on while another view is shown. */
export function leave() {}
