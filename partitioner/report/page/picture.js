/* What the pictures share. They are a few SVG nodes each, one path per kind of cost however many cuts there are, so
   that a drag stays fluid. Colours are the style's: light, dark and paper need nothing here. */

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
const GUTTER = 50;

/** Where a depth is on the axis that cuts and layers share. */
const xOfDepth = (depth, layers, width) => GUTTER + ((depth + 0.5) / (layers + 1)) * (width - GUTTER);

/** Neighbours on an axis in groups, so that no more are drawn than there are pixels: places of one group each. */
function grouped(count, width) {
  const size = Math.max(Math.ceil(count / Math.max(width - GUTTER, 1)), 1);
  return Array.from({ length: Math.ceil(count / size) }, (_, group) => (
    Array.from({ length: Math.min(size, count - group * size) }, (__, place) => group * size + place)
  ));
}

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
