/* What can be set: a link, a worker's load, a deadline and an objective; kept in SI, shown in people's units, and
   written into the page's address so that a situation can be sent to somebody. */

const STEPS = 400;
const BYTES_PER_MBIT = 125000;

/** Sliders by name: ``per`` is one shown unit in SI; position 0 may stand for zero, the last one for no limit. */
const SLIDERS = {
  up: { label: "Uplink", unit: "Mbit/s", per: BYTES_PER_MBIT, low: 0.05, high: 1000, least: 1e-6 },
  down: { label: "Downlink", unit: "Mbit/s", per: BYTES_PER_MBIT, low: 0.05, high: 2000, least: 1e-6 },
  rtt: { label: "Round trip", unit: "ms", per: 1e-3, low: 0.1, high: 2000, hasZero: true, least: 0 },
  queue: { label: "Wait for the worker", unit: "ms", per: 1e-3, low: 0.1, high: 5000, hasZero: true, least: 0 },
  slowdown: { label: "Worker slower by", unit: "×", per: 1, low: 1, high: 50, least: 1e-3 },
  deadline: { label: "Deadline", unit: "ms", per: 1e-3, low: 0.1, high: 100000, hasNone: true, least: 0 },
  leakage: {
    label: "Gives away at most",
    hint: "distance correlation of the input and what crosses: 1 is the input itself, 0 tells nothing of it",
    unit: "", per: 1, low: 0, high: 1, isLinear: true, hasNone: true, least: 0,
  },
  energy: { label: "Energy at most", unit: "mJ", per: 1e-3, low: 0.1, high: 100000, hasNone: true, least: 0 },
};

/** The value, in shown units, at a slider's position; null is no limit. */
function valueAt({ low, high, hasZero, hasNone, isLinear }, position) {
  if (hasZero && position <= 0) return 0;
  if (hasNone && position >= STEPS) return null;
  if (isLinear) return Number((low + (high - low) * (position / STEPS)).toPrecision(3));
  return Number((low * (high / low) ** (position / STEPS)).toPrecision(3));
}

/** The position that is nearest to a value in shown units. */
function positionOf({ low, high, hasZero, hasNone, isLinear }, value) {
  if (value === null) return STEPS;
  if (hasZero && value < low / 2) return 0;
  const share = isLinear ? (value - low) / (high - low) : Math.log(value / low) / Math.log(high / low);
  const position = Math.round(share * STEPS);
  return Math.min(Math.max(position, hasZero ? 1 : 0), hasNone ? STEPS - 1 : STEPS);
}

/** Everything that is set; ``follows``: the downlink is ``ratio`` times the uplink. */
class Situation {
  constructor(facts) {
    const { link } = facts;
    this.objectives = facts.objectives;
    const isKnown = { energy: facts.has_energy, leakage: facts.has_leakage };
    this.names = Object.keys(SLIDERS).filter((name) => isKnown[name] ?? true);
    this.given = {
      up: link.up_bytes_per_s,
      down: link.down_bytes_per_s,
      rtt: link.rtt_s,
      queue: facts.load.queue_s,
      slowdown: facts.load.slowdown,
      deadline: facts.deadline_s,
      energy: facts.max_energy_j,
      leakage: facts.max_leakage,
      follows: true,
      objective: facts.objective.name,
    };
    this.reset();
  }

  reset() {
    Object.assign(this, this.given);
    this.ratio = this.down / this.up;
  }

  /** Link and load as the model takes them. */
  get at() {
    return {
      upBytesPerS: this.up,
      downBytesPerS: this.down,
      rttS: this.rtt,
      queueS: this.queue,
      slowdown: this.slowdown,
    };
  }

  /** The same with another uplink, and the downlink that follows it. */
  atUplink(upBytesPerS) {
    return { ...this.at, upBytesPerS, downBytesPerS: this.follows ? upBytesPerS * this.ratio : this.down };
  }

  /** What is asked of a plan, as the model takes it. */
  get wanted() {
    const objective = this.objectives.find((each) => each.name === this.objective) ?? this.objectives[0];
    return { objective, deadlineS: this.deadline, energyJ: this.energy, leakage: this.leakage };
  }

  /** Set one slider's value in SI; a downlink that is set follows no longer. */
  set(name, value) {
    this[name] = value;
    if (name === "down") this.follows = false;
    if (name === "up" && this.follows) this.down = value * this.ratio;
  }

  follow(follows) {
    this.follows = follows;
    if (follows) this.down = this.up * this.ratio;
  }

  /** Take over a link. */
  take(link) {
    this.up = link.up_bytes_per_s;
    this.down = link.down_bytes_per_s;
    this.rtt = link.rtt_s;
    this.ratio = this.down / this.up;
    this.follows = true;
  }

  /** One slider's value in shown units, null for no limit. */
  shown(name) {
    const value = this[name];
    const places = name === "down" && this.follows ? 4 : 6;
    return value === null ? null : Number((value / SLIDERS[name].per).toPrecision(places));
  }

  /** Whether a text is a value of this slider, in shown units: its value in SI; undefined where it is none. */
  read(name, text) {
    const slider = SLIDERS[name];
    if (text.trim() === "") return slider.hasNone ? null : undefined;
    const value = Number(text);
    return Number.isFinite(value) && value >= slider.least && value <= 1e9 ? value * slider.per : undefined;
  }

  /** What differs from what was given, as ``up=2&by=throughput``. */
  get address() {
    const isImplied = this.follows && this.ratio === this.given.down / this.given.up;
    const parts = this.names
      .filter((name) => this[name] !== this.given[name] && !(name === "down" && isImplied))
      .map((name) => `${name}=${this.shown(name) ?? "none"}`);
    if (this.objective !== this.given.objective) parts.push(`by=${encodeURIComponent(this.objective)}`);
    return parts.join("&");
  }

  /** Take over an address; what makes no sense in it is left as it was given. */
  readAddress(address) {
    this.reset();
    for (const part of address.split("&")) {
      const [name, text = ""] = part.split("=");
      if (this.names.includes(name)) {
        const value = text === "none" && SLIDERS[name].hasNone ? null : this.read(name, text || "-");
        if (value !== undefined) this.set(name, value);
      } else if (name === "by") {
        const wanted = this.objectives.find((each) => encodeURIComponent(each.name) === text);
        if (wanted) this.objective = wanted.name;
      }
    }
  }

  /** The situation in one sentence. */
  get sentence() {
    const slower = this.slowdown === 1 ? [] : [`worker ${short(this.slowdown)} times slower`];
    const waits = this.queue === 0 ? [] : [`${ms(this.queue)} of waiting for the worker`];
    const load = [...slower, ...waits].join(", ") || "worker idle";
    const deadline = this.deadline === null ? "" : `, within ${ms(this.deadline)}`;
    const energy = this.energy === null ? "" : `, with at most ${joules(this.energy)}`;
    const leakage = this.leakage === null ? "" : `, giving away at most ${short(this.leakage)}`;
    return `${mbit(this.up)} up, ${mbit(this.down)} down, round trip ${ms(this.rtt)}, ${load}; `
      + `best by ${this.objective}${deadline}${energy}${leakage}.`;
  }
}
