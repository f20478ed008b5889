// A line chart of the last minutes, drawn as SVG; its legend has the newest values, or those under the pointer.

const { make } = await import(import.meta.url.replace("chart.mjs", "page.mjs"));

const HEIGHT = 132;
const LEFT = 44;
const RIGHT = 6;
const TOP = 8;
const BOTTOM = 18;
const LINES = 3;

/** A number that people say, at `value` or above it. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 5, 7.5, 10].find((step) => step * power >= value * 0.9999) * power;
}

function svg(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

export class Chart {
  /** `series` are names; `format` makes a text of a value; `span` is how many samples the width has. */
  constructor({ title, note, series, format, span, floor = 1 }) {
    Object.assign(this, { title, series, format, span, floor, samples: [], at: undefined });
    this.values = series.map(() => make("output", {}, "–"));
    const rows = series.map((name, at) =>
      make("li", { className: `series-${at % 6}` }, make("span", {}, name), this.values[at]));
    this.legend = make("ul", { className: "legend" }, ...rows);
    this.picture = svg("svg", { role: "img", height: HEIGHT });
    const heading = make("h3", {}, title);
    this.node = make("figure", { className: "chart" }, make("figcaption", {}, heading, this.legend), this.picture);
    if (note) this.node.append(make("p", { className: "note" }, note));
    this.picture.addEventListener("pointermove", (event) => this.#point(event));
    this.picture.addEventListener("pointerleave", () => {
      this.at = undefined;
      this.draw(this.samples);
    });
    new ResizeObserver(() => this.draw(this.samples)).observe(this.node);
  }

  /** Draw samples, each an array of one value for each series; `undefined` is a gap. */
  draw(samples) {
    this.samples = samples;
    const width = this.picture.clientWidth;
    this.#tell();
    if (width < LEFT + RIGHT + 10) return;
    const known = samples.flat().filter(Number.isFinite);
    const top = roundUp(Math.max(this.floor, ...known));
    const x = (at) => LEFT + ((at + this.span - samples.length) / (this.span - 1)) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    this.#x = { x, width };
    const parts = [...this.#grid(top, y, width)];
    // The first series is the one that matters: it lies on top.
    for (let at = this.series.length - 1; at >= 0; at -= 1) {
      for (const run of runs(samples, at)) {
        const line = run.map(([moment, value]) => `${x(moment).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
        const [first, last] = [x(run[0][0]).toFixed(1), x(run.at(-1)[0]).toFixed(1)];
        if (at === 0) parts.push(svg("path", { class: "area", d: `M${line}L${last} ${y(0)}L${first} ${y(0)}Z` }));
        parts.push(svg("path", { class: `line series-${at % 6}`, d: `M${line}` }));
      }
    }
    if (this.at !== undefined) {
      const place = x(this.at).toFixed(1);
      parts.push(svg("path", { class: "pointer", d: `M${place} ${TOP}V${HEIGHT - BOTTOM}` }));
    }
    this.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.picture.replaceChildren(...parts);
  }

  #x;

  *#grid(top, y, width) {
    for (let line = 0; line <= LINES - 1; line += 1) {
      const value = (top * line) / (LINES - 1);
      yield svg("path", { class: line ? "grid" : "grid base", d: `M${LEFT} ${y(value)}H${width - RIGHT}` });
      const label = svg("text", { x: LEFT - 6, y: y(value) + 3.5, "text-anchor": "end" });
      label.textContent = this.format(value);
      yield label;
    }
    for (const [place, anchor, text] of [[LEFT, "start", `${this.span} s ago`], [width - RIGHT, "end", "now"]]) {
      const label = svg("text", { x: place, y: HEIGHT - 4, "text-anchor": anchor });
      label.textContent = text;
      yield label;
    }
  }

  #point(event) {
    if (this.#x === undefined || this.samples.length === 0) return;
    const inside = event.clientX - this.picture.getBoundingClientRect().left - LEFT;
    const share = inside / (this.#x.width - LEFT - RIGHT);
    const at = Math.round(share * (this.span - 1)) - (this.span - this.samples.length);
    this.at = Math.min(Math.max(at, 0), this.samples.length - 1);
    this.draw(this.samples);
  }

  #tell() {
    const sample = this.samples.at(this.at ?? -1) ?? [];
    const texts = this.series.map((_, at) => (Number.isFinite(sample[at]) ? this.format(sample[at]) : "–"));
    texts.forEach((text, at) => {
      this.values[at].textContent = text;
    });
    const said = this.series.map((name, at) => `${name} ${texts[at]}`).join(", ");
    this.picture.setAttribute("aria-label", `${this.title}: ${said}`);
  }
}

/** The stretches of one series without a gap, as pairs of a moment and a value. */
function runs(samples, series) {
  const found = [];
  let run;
  samples.forEach((sample, at) => {
    if (!Number.isFinite(sample[series])) run = undefined;
    else if (run === undefined) found.push((run = [[at, sample[series]]]));
    else run.push([at, sample[series]]);
  });
  return found;
}
