/* Three pictures of few SVG nodes: one path per kind of cost, however many cuts there are, so that a drag stays fluid.
   Colours are the style's, so light, dark and print need nothing here. */

const SVG = "http://www.w3.org/2000/svg";

/** What a frame's time is made of, in the order in which it is spent; ``side`` is who spends it. */
const KINDS = [
  { name: "head", label: "device computes", side: "device", terms: ["head_s"] },
  { name: "pack", label: "device packs", side: "device", terms: ["encode_s", "decode_reply_s"] },
  { name: "move", label: "bytes move", side: "network", terms: ["up_s", "down_s"] },
  { name: "trip", label: "round trip", side: "network", terms: ["rtt_s"] },
  { name: "queue", label: "worker is busy", side: "cloud", terms: ["queue_s"] },
  { name: "tail", label: "worker computes", side: "cloud", terms: ["decode_s", "tail_s", "encode_reply_s"] },
];

function node(parent, tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

const tenth = (value) => Math.round(value * 10) / 10;

const ROUND = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];

/** The least round number that is no less. */
function roundUp(value, among = ROUND) {
  if (!(value > 0 && value < Infinity)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return among.map((step) => step * power).find((each) => each >= value * 0.999999) ?? value;
}

/** Where an axis from 0 is labelled: round numbers, three to five of them. */
function ticksTo(top) {
  const step = roundUp(top / 5, [1, 2, 2.5, 5, 10]);
  return Array.from({ length: Math.floor(top / step + 1e-6) }, (_, place) => (place + 1) * step);
}

/** Room left of the plots for their axes. */
const GUTTER = 44;

/** Where a depth is on the axis that cuts and layers share. */
const xOfDepth = (depth, layers, width) => GUTTER + ((depth + 0.5) / (layers + 1)) * (width - GUTTER);

/** A picture's frame: it knows its size, and keeps nodes of one kind to use them again. */
class Picture {
  constructor(svg, height) {
    this.svg = svg;
    this.height = height;
    this.width = 0;
    this.pools = new Map();
  }

  resize(width) {
    this.width = width;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.setAttribute("height", this.height);
  }

  /** Show as many nodes as there are entries: ``dress(node, entry)`` sets each. */
  each(parent, tag, name, entries, dress) {
    const pool = this.pools.get(name) ?? [];
    this.pools.set(name, pool);
    while (pool.length < entries.length) pool.push(node(parent, tag, { class: name }));
    pool.forEach((each, place) => {
      each.style.display = place < entries.length ? "" : "none";
      if (place < entries.length) dress(each, entries[place]);
    });
  }
}

/** Latency of every cut as stacked areas over depth, and beneath it the layers that each depth keeps on the device. */
class CutsChart extends Picture {
  constructor(svg, cuts, layers) {
    super(svg, 270);
    this.top = 24;
    this.bottom = 22;
    this.layers = layers;
    this.columns = cuts.filter((cut) => !cut.isBranch).filter((cut, place, all) => all[place - 1]?.depth !== cut.depth);
    this.branches = cuts.filter((cut) => cut.isBranch);
    this.#gradient();
    this.grid = node(svg, "g");
    this.areas = [...KINDS].reverse().map((kind) => node(svg, "path", { class: `area ${kind.name}` }));
    this.refused = node(svg, "path", { class: "refused" });
    this.torn = node(svg, "path", { fill: "url(#torn)" });
    this.deadline = node(svg, "path", { class: "deadline" });
    this.diamonds = node(svg, "path", { class: "branches" });
    this.looked = node(svg, "path", { class: "looked" });
    this.chosen = node(svg, "path", { class: "chosen" });
    this.flag = node(svg, "text", { class: "flag", y: 14 });
    this.ends = ["all in the cloud", "all on the device"].map((text, place) => {
      const made = node(svg, "text", { class: "end", "text-anchor": place ? "end" : "start" });
      made.textContent = place ? `${text} →` : `← ${text}`;
      return made;
    });
  }

  x(depth) {
    return xOfDepth(depth, this.layers, this.width);
  }

  resize(width) {
    super.resize(width);
    const xs = this.columns.map((cut) => this.x(cut.depth));
    const half = (this.x(1) - this.x(0)) / 2;
    this.edges = xs.map((x, place) => {
      const from = place ? (xs[place - 1] + x) / 2 : x - half;
      const to = place < xs.length - 1 ? (xs[place + 1] + x) / 2 : x + half;
      const gap = to - from > 7 ? 1 : 0;
      return [tenth(Math.max(from, GUTTER) + gap), tenth(Math.min(to, width) - gap)];
    });
    this.ends.forEach((end, place) => {
      end.setAttribute("x", place ? width : GUTTER);
      end.setAttribute("y", this.height - 5);
    });
  }

  /** The cut that is drawn nearest to a place. */
  nearest(x) {
    let found = this.columns[0];
    for (const cut of this.columns) {
      if (Math.abs(this.x(cut.depth) - x) < Math.abs(this.x(found.depth) - x)) found = cut;
    }
    return found;
  }

  /** ``costOf(cut)``: its {totalS, parts (one per kind), isAllowed}. */
  draw({ costOf, chosen, looked, deadlineS }) {
    const costs = this.columns.map(costOf);
    const floor = this.height - this.bottom;
    const bestS = costOf(chosen).totalS;
    const ends = Math.max(costs[0].totalS, costs[costs.length - 1].totalS);
    const largest = costs.reduce((most, cost) => Math.max(most, cost.totalS), 0);
    const topS = roundUp(Math.min(largest, Math.max(bestS * 2.5, Math.min(ends * 1.05, bestS * 8))));
    const y = (seconds) => tenth(floor - (Math.min(seconds, topS) / topS) * (floor - this.top));
    this.#areas(costs, floor, y);
    this.#torn(costs, topS);
    this.#grid(topS, y);
    this.#place(this.chosen, this.flag, chosen, costOf(chosen), y, floor);
    const isOther = looked !== null && looked !== chosen;
    this.looked.setAttribute("d", isOther ? this.#stem(looked, y(costOf(looked).totalS), floor) : "");
    const isDrawn = deadlineS !== null && deadlineS < topS;
    this.deadline.setAttribute("d", isDrawn ? `M${GUTTER} ${y(deadlineS)}H${this.width}` : "");
    this.diamonds.setAttribute("d", this.branches.map((cut) => {
      const cost = costOf(cut);
      return cost.totalS <= topS ? `M${tenth(this.x(cut.depth))} ${y(cost.totalS)}m-3 0l3 -3l3 3l-3 3z` : "";
    }).join(""));
  }

  #areas(costs, floor, y) {
    const heights = costs.map((cost) => cost.totalS);
    this.areas.forEach((area, place) => {
      let path = "";
      const kind = KINDS.length - 1 - place;
      for (let column = 0; column < costs.length; column += 1) {
        const [from, to] = this.edges[column];
        path += `M${from} ${floor}V${y(heights[column])}H${to}V${floor}z`;
        heights[column] -= costs[column].parts[kind];
      }
      area.setAttribute("d", path);
    });
    this.refused.setAttribute("d", this.#spans(costs, (cost) => !cost.isAllowed).map(([from, to]) => (
      `M${from} ${floor}V${this.top}H${to}V${floor}z`
    )).join(""));
  }

  /** What columns that go on beyond the top fade out with. */
  #gradient() {
    const gradient = node(node(this.svg, "defs"), "linearGradient", { id: "torn", x1: 0, y1: 0, x2: 0, y2: 1 });
    for (const [offset, opacity] of [[0, 0.85], [1, 0]]) {
      node(gradient, "stop", { class: "fade", offset, "stop-opacity": opacity });
    }
  }

  #torn(costs, topS) {
    const spans = this.#spans(costs, (cost) => cost.totalS > topS);
    this.torn.setAttribute("d", spans.map(([from, to]) => `M${from} ${this.top}H${to}v34H${from}z`).join(""));
  }

  #spans(costs, isIn) {
    const found = [];
    costs.forEach((cost, column) => {
      if (!isIn(cost)) return;
      const [from, to] = this.edges[column];
      const last = found[found.length - 1];
      if (last && from - last[1] < 3) last[1] = to;
      else found.push([from, to]);
    });
    return found;
  }

  #grid(topS, y) {
    const steps = ticksTo(topS);
    this.each(this.grid, "path", "gridline", steps, (line, value) => {
      line.setAttribute("d", `M${GUTTER} ${y(value)}H${this.width}`);
    });
    this.each(this.svg, "text", "tick left", steps, (text, value) => {
      text.setAttribute("x", GUTTER - 6);
      text.setAttribute("y", y(value) + 4);
      text.textContent = `${short(value * 1e3)}${value === steps[steps.length - 1] ? " ms" : ""}`;
    });
  }

  #place(stem, flag, cut, cost, y, floor) {
    const x = this.x(cut.depth);
    const at = Math.min(Math.max(x, GUTTER + 34), this.width - 34);
    stem.setAttribute("d", this.#stem(cut, y(cost.totalS), floor));
    flag.setAttribute("x", tenth(at));
    flag.textContent = `best ${ms(cost.totalS)}`;
  }

  #stem(cut, y, floor) {
    const x = tenth(this.x(cut.depth));
    return `M${x} ${this.top - 5}V${floor}M${x} ${y}m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0`;
  }
}

/** Each layer's time as bars and what it makes as a line, on the same axis of depth. */
class LayersChart extends Picture {
  constructor(svg, layers) {
    super(svg, layers.energy_j.length ? 230 : 156);
    this.layers = layers;
    this.count = layers.name.length;
    this.floor = this.height - 38;
    this.middle = layers.energy_j.length ? 118 : this.floor;
    this.kept = node(svg, "path", { class: "kept" });
    this.bars = node(svg, "path", { class: "bars" });
    this.line = node(svg, "path", { class: "line" });
    this.drained = node(svg, "path", { class: "drained" });
    this.mark = node(svg, "path", { class: "chosen" });
    this.texts = node(svg, "g");
  }

  x(depth) {
    return xOfDepth(depth, this.count, this.width);
  }

  resize(width) {
    super.resize(width);
    const { forward_s, output_bytes, energy_j, energy_origin } = this.layers;
    const bytes = output_bytes.map((each) => Math.max(each, 1));
    const low = 10 ** Math.floor(Math.log10(Math.min(...bytes)));
    const high = Math.max(...bytes, low * 10);
    const yOfBytes = (each) => (
      tenth(this.middle - 4 - (Math.log(each / low) / Math.log(high / low)) * (this.middle - 26))
    );
    this.bars.setAttribute("d", this.#columns(forward_s, this.middle, this.middle - 24));
    this.drained.setAttribute("d", this.#columns(energy_j, this.floor, this.floor - this.middle - 22));
    this.line.setAttribute("d", bytes.map((each, layer) => (
      `${layer ? "L" : "M"}${tenth(this.x(layer + 0.5))} ${yOfBytes(each)}`
    )).join(""));
    const words = [
      { x: GUTTER, y: 12, anchor: "start", text: `time to ${ms(Math.max(...forward_s, 0))}`, kind: "time" },
      { x: width, y: 12, anchor: "end", text: `bytes to ${size(Math.max(...output_bytes, 0))}`, kind: "bytes" },
    ];
    if (energy_j.length) {
      const text = `energy to ${joules(Math.max(...energy_j))}, ${[...new Set(energy_origin)].join(" and ")}`;
      words.push({ x: GUTTER, y: this.middle + 14, anchor: "start", text, kind: "energy" });
    }
    this.each(this.texts, "text", "tick", words, (text, word) => {
      text.setAttribute("x", word.x);
      text.setAttribute("y", word.y);
      text.setAttribute("text-anchor", word.anchor);
      text.dataset.kind = word.kind;
      text.textContent = word.text;
    });
    this.#stages(stagesOf(this.layers.name));
  }

  #columns(values, floor, room) {
    const most = Math.max(...values, 1e-12);
    const gap = this.x(1) - this.x(0) > 5 ? 1 : 0;
    return values.map((each, layer) => (
      `M${tenth(this.x(layer) + gap)} ${floor}V${tenth(floor - (each / most) * room)}`
      + `H${tenth(this.x(layer + 1) - gap)}V${floor}z`
    )).join("");
  }

  /** Names of the model's parts under their layers, where there is room. */
  #stages(stages) {
    this.each(this.texts, "path", "stage-mark", stages, (mark, { from, to }) => {
      mark.setAttribute("d", `M${tenth(this.x(from) + 1)} ${this.floor + 6}H${tenth(this.x(to) - 1)}`);
    });
    this.each(this.texts, "text", "stage", stages, (text, { from, to, name }) => {
      const room = (this.x(to) - this.x(from)) / 6.2;
      const said = name.length <= room ? name : room >= 5 ? `${name.slice(0, Math.floor(room) - 1)}…` : "";
      text.setAttribute("x", tenth((this.x(from) + this.x(to)) / 2));
      text.setAttribute("y", this.floor + 22);
      text.textContent = said;
    });
  }

  /** Shade what stays on the device. */
  draw(depth) {
    const x = tenth(this.x(depth));
    this.kept.setAttribute("d", `M${GUTTER} 0H${x}V${this.floor}H${GUTTER}z`);
    this.mark.setAttribute("d", `M${x} 0V${this.floor}`);
  }
}

/** Runs of layers that share the first parts of their names: as fine as gives at most twenty. */
function stagesOf(names) {
  const runs = (parts) => {
    const found = [];
    names.forEach((full, layer) => {
      const name = full.split(".").slice(0, parts).join(".");
      const last = found[found.length - 1];
      if (last && last.full === name) last.to = layer + 1;
      else found.push({ full: name, name: name.split(".").pop(), from: layer, to: layer + 1 });
    });
    return found;
  };
  return [3, 2, 1].map(runs).find((found) => found.length <= 20) ?? [];
}

/** Latency against uplink for the best plan and for both extremes, over a strip of which cut is best where. */
class RatesChart extends Picture {
  constructor(svg, { low, high }, layers) {
    super(svg, 206);
    this.low = low;
    this.high = high;
    this.layers = layers;
    this.top = 8;
    this.floor = 136;
    this.grid = node(svg, "g");
    this.lines = ["cloud", "local", "best"].map((name) => node(svg, "path", { class: `rate ${name}` }));
    this.strip = node(svg, "g");
    this.marker = node(svg, "g", { class: "marker" });
    this.pin = node(this.marker, "path");
    this.knob = node(this.marker, "circle", { r: 6, cy: this.floor + 18 });
  }

  x(rate) {
    return GUTTER + (Math.log(rate / this.low) / Math.log(this.high / this.low)) * (this.width - GUTTER);
  }

  rate(x) {
    return this.low * (this.high / this.low) ** (Math.min(Math.max((x - GUTTER) / (this.width - GUTTER), 0), 1));
  }

  /** Rates to ask at: one for every three pixels. */
  get values() {
    const count = Math.max(Math.floor(this.width / 3), 40);
    return Array.from({ length: count + 1 }, (_, place) => this.low * (this.high / this.low) ** (place / count));
  }

  /** ``spans`` have a cut or null; ``lines`` are latencies at ``values``, of the cloud, the device and the best. */
  draw({ spans, values, lines }) {
    const finite = lines[2].filter((each) => each < Infinity);
    const shown = lines.flat().filter((each) => each > 0 && each < Infinity);
    const bottomS = shown.length ? Math.min(...shown) : 1e-3;
    const topS = Math.max(...finite, Math.min(Math.max(...lines[1]), bottomS * 1e3), bottomS * 2) * 1.8;
    const floorS = bottomS * 0.85;
    const height = (seconds) => Math.log(Math.min(Math.max(seconds, floorS), topS) / floorS) / Math.log(topS / floorS);
    const y = (seconds) => tenth(this.floor - height(seconds) * (this.floor - this.top));
    const xs = values.map((value) => tenth(this.x(value)));
    lines.forEach((line, which) => {
      let path = "";
      let isDown = false;
      line.forEach((seconds, place) => {
        const isShown = seconds <= topS;
        if (isShown) path += `${isDown ? "L" : "M"}${xs[place]} ${y(seconds)}`;
        isDown = isShown;
      });
      this.lines[which].setAttribute("d", path);
    });
    this.#ticks(bottomS, topS, y);
    this.#strip(spans);
  }

  #ticks(bottomS, topS, y) {
    const steps = topS / bottomS > 60 ? [1] : topS / bottomS > 8 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
    const values = [];
    for (let power = 10 ** Math.floor(Math.log10(bottomS)); power <= topS; power *= 10) {
      values.push(...steps.map((step) => step * power).filter((value) => value >= bottomS * 0.9 && value <= topS));
    }
    this.each(this.grid, "path", "gridline", values, (line, value) => {
      line.setAttribute("d", `M${GUTTER} ${y(value)}H${this.width}`);
    });
    this.each(this.svg, "text", "tick left", values, (text, value) => {
      text.setAttribute("x", GUTTER - 6);
      text.setAttribute("y", y(value) + 4);
      text.textContent = `${short(value * 1e3)}${value === values[values.length - 1] ? " ms" : ""}`;
    });
    const rates = (this.width < 500 ? [0.1, 1, 10, 1000] : [0.1, 1, 10, 100, 1000]).filter((each) => each * BYTES_PER_MBIT <= this.high);
    this.each(this.svg, "text", "tick axis", rates, (text, value) => {
      const x = this.x(value * BYTES_PER_MBIT);
      text.setAttribute("x", tenth(x));
      text.setAttribute("y", this.height - 8);
      text.setAttribute("text-anchor", x > this.width - 30 ? "end" : "middle");
      text.textContent = value === rates[rates.length - 1] ? `${value} Mbit/s` : String(value);
    });
  }

  #strip(spans) {
    const boxes = spans.map((span) => ({ ...span, x: this.x(span.from), to: this.x(span.to) }));
    this.each(this.strip, "rect", "span", boxes, (box, { x, to, cut }) => {
      box.setAttribute("x", tenth(x));
      box.setAttribute("y", this.floor + 6);
      box.setAttribute("width", Math.max(tenth(to - x - 1), 0.5));
      box.setAttribute("height", 24);
      const share = cut === null ? 0 : Math.round((cut.isLocal ? 1 : cut.depth / (this.layers + 1)) * 100);
      box.style.fill = cut === null ? "var(--line)"
        : `color-mix(in oklab, var(--device) ${share}%, var(--cloud))`;
    });
    this.each(this.strip, "text", "span-name", boxes, (text, { x, to, cut }) => {
      const name = cut === null ? "none in time" : cut.isLocal ? "device" : cut.isAllCloud ? "cloud" : cut.short;
      const room = (to - x - 8) / 6.6;
      text.setAttribute("x", tenth((x + to) / 2));
      text.setAttribute("y", this.floor + 22);
      text.textContent = name.length <= room ? name : "";
    });
  }

  /** Show where the uplink stands. */
  mark(upBytesPerS) {
    const x = tenth(Math.min(Math.max(this.x(upBytesPerS), GUTTER), this.width));
    this.pin.setAttribute("d", `M${x} 0V${this.floor + 36}`);
    this.knob.setAttribute("cx", x);
  }
}
