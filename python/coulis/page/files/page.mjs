// The page around its views: which one is shown, and the headers that all of them send.

export const settings = JSON.parse(document.getElementById("settings").textContent);

// Style elements that GraphiQL's dialogs make are let through by this.
globalThis.__webpack_nonce__ = settings.nonce;

/** The address of a part of the endpoint: `?page=…` or `?console…`, whatever the page's own query is. */
export const address = (query) => {
  const url = new URL(location.href);
  [url.search, url.hash] = [query, ""];
  return url;
};

/** Load one of the page's modules. */
export const load = (name) => import(address(`?page=${name}`).href);

const state = document.getElementById("state");

/** Say in the header how things are. */
export function tell(text, kind = "") {
  if (state.textContent !== text) state.textContent = text;
  state.dataset.kind = kind;
}

/** What the reader wants to be sent: with `connection_init` of a WebSocket, and as headers over HTTP. */
export const identity = {
  text: "",
  /** Answer the headers, or nothing while they are no JSON object of texts. */
  get headers() {
    try {
      const found = JSON.parse(this.text || "{}");
      return found && typeof found === "object" && !Array.isArray(found) ? found : undefined;
    } catch {
      return undefined;
    }
  },
};

/** Ask the endpoint with the reader's headers; answer the response. */
export async function ask(query, options = {}) {
  const own = Object.entries(identity.headers ?? {}).filter(([, value]) => typeof value === "string");
  const headers = { ...Object.fromEntries(own), accept: "application/json, text/plain", ...options.headers };
  return fetch(address(query), { cache: "no-store", ...options, headers });
}

/** Make an element. */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in node && key !== "list" && key !== "role") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const views = {
  graphiql: { offered: settings.graphiql, module: "ide.mjs", title: "GraphiQL" },
  console: { offered: settings.console, module: "console.mjs", title: "Console" },
};

async function show() {
  const asked = location.hash.slice(1);
  const name = views[asked]?.offered ? asked : Object.keys(views).find((each) => views[each].offered);
  for (const [each, view] of Object.entries(views)) {
    const link = document.querySelector(`nav a[href="#${each}"]`);
    link.hidden = !view.offered;
    if (each === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    document.getElementById(`${each}-view`).hidden = each !== name;
    if (each !== name) view.loaded?.leave();
  }
  const view = views[name];
  document.title = `${view.title} · Coulis`;
  view.loading ??= load(view.module);
  try {
    view.loaded ??= await view.loading;
    view.loaded.enter(document.getElementById(`${name}-view`));
  } catch (error) {
    tell(`the page could not be loaded: ${error.message}`, "bad");
    throw error;
  }
}

addEventListener("hashchange", show);
show();
