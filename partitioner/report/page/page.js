/* The page itself: sliders set the situation, and once a frame at most the answer is computed and told. */

const REST_MS = 350;
const byId = (id) => document.getElementById(id);

/** Stacked parts of a frame's time, one element for each of KINDS. */
function splitBar(parent) {
  return KINDS.map(({ name }) => element(parent, "span", name));
}

function fill(bar, parts, wholeS) {
  bar.forEach((part, kind) => {
    const width = `${wholeS > 0 ? ((parts[kind] / wholeS) * 100).toFixed(2) : 0}%`;
    if (part.style.width !== width) part.style.width = width;
  });
}

/** What a cut is called in a sentence. */
function called(cut) {
  if (cut.isLocal) return "everything on the device";
  return cut.isAllCloud ? "everything in the cloud" : cut.label;
}

/** Best, looked at, and both extremes, to one scale. */
class Comparison {
  constructor(list) {
    this.rows = ["best", "looked", "local", "cloud"].map((name) => {
      const row = element(list, "li", name);
      const label = element(row, "span", "who");
      const bar = element(row, "span", "bar");
      bar.setAttribute("aria-hidden", "true");
      return { row, label, parts: splitBar(bar), value: element(row, "span", "value") };
    });
  }

  /** ``shown``: [who, cost or null] for each row; ``isRefused`` tells of costs that break a limit. */
  show(shown, isRefused) {
    const bestS = shown[0][1].totalS;
    const wholeS = Math.min(Math.max(...shown.map(([, cost]) => cost?.totalS ?? 0)), bestS * 6);
    shown.forEach(([who, cost], place) => {
      const { row, label, parts, value } = this.rows[place];
      row.hidden = cost === null;
      if (cost === null) return;
      row.classList.toggle("torn", cost.totalS > wholeS * 1.000001);
      row.classList.toggle("refused", isRefused(cost));
      say(label, isRefused(cost) ? `${who}, refused` : who);
      say(value, ms(cost.totalS));
      fill(parts, cost.parts, wholeS);
    });
  }
}

class Page {
  constructor(facts) {
    this.facts = facts;
    this.plans = new Plans(facts);
    this.situation = new Situation(facts);
    this.pinned = null;
    this.looked = null;
    this.isDue = false;
    this.layers = facts.layers.name.length || Math.max(...this.plans.cuts.map((cut) => cut.depth));
    this.cutsChart = new CutsChart(byId("cuts-chart"), this.plans.cuts, this.layers);
    this.layersChart = facts.layers.name.length ? new LayersChart(byId("layers-chart"), facts.layers) : null;
    const { low, high, per } = SLIDERS.up;
    this.ratesChart = new RatesChart(byId("rates-chart"), { low: low * per, high: high * per }, this.layers);
    this.tables = new Tables(facts, this.plans);
    this.comparison = new Comparison(byId("rows"));
    this.split = splitBar(byId("best-split"));
    this.parties = ["device", "network", "cloud"].map((side) => {
      const group = element(byId("parties"), "div", side);
      const name = { device: "Device", network: "Network", cloud: "Cloud" }[side];
      return { side, name: element(group, "dt", "", name), time: element(group, "dd", "time"), what: element(group, "dd", "quiet") };
    });
    this.controls = new Controls(facts, this.situation, () => this.draw(), () => this.keep());
    this.#tellWhatItIs();
    this.#listen();
    this.situation.readAddress(location.hash.slice(1));
  }

  /** Draw before the next frame. */
  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.#draw();
    });
  }

  /** Write the situation into the address. */
  keep() {
    const address = this.situation.address;
    history.replaceState(null, "", address ? `#${address}` : location.pathname);
  }

  #draw() {
    const { situation, plans } = this;
    const answer = plans.answer(situation.at, situation.wanted);
    this.answer = answer;
    const looked = this.looked ?? this.pinned;
    this.controls.show();
    this.#glance(answer);
    this.#compare(answer, looked);
    this.cutsChart.draw({ costOf: (cut) => answer.costs.get(cut), chosen: answer.cut, looked, deadlineS: situation.deadline });
    this.layersChart?.draw(answer.cut.depth);
    this.#look(answer, looked);
    this.#rates(answer);
    this.tables.show(answer);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.#rest(), REST_MS);
  }

  /** What can wait until the sliders rest. */
  #rest() {
    this.tables.showAll(this.answer);
    say(byId("spoken"), `${byId("verdict").textContent}. Best cut: ${called(this.answer.cut)}, ${ms(this.answer.cost.totalS)}.`);
  }

  #glance(answer) {
    const { cut, cost, row, isRefused } = answer;
    const candidate = this.plans.candidates[row];
    const { up_bytes, down_bytes } = this.plans.all;
    say(byId("best-title"), isRefused ? "No plan keeps the limits; without them" : "Best cut");
    byId("glance").classList.toggle("refused", isRefused);
    byId("best-cut").classList.toggle("end", cut.isLocal || cut.isAllCloud);
    sayName(byId("best-cut"), called(cut));
    byId("best-cut").title = cut.name;
    say(byId("best-how"), inWords(candidate, this.facts.has_choice_of_runtimes));
    say(byId("best-joules"), this.facts.has_energy ? `${joules(answer.energiesJ[row])}, ${candidate.energy_origin ?? "unknown"}` : "");
    say(byId("best-ms"), inMs(cost.totalS));
    fill(this.split, cost.parts, cost.totalS);
    const kept = cut.isLocal ? this.layers : cut.depth;
    const what = {
      device: `${kept} of ${this.layers} layers`,
      network: cut.isLocal ? "nothing is sent" : `${size(up_bytes[row])} up, ${size(down_bytes[row])} down`,
      cloud: `${this.layers - kept} layers`,
    };
    for (const party of this.parties) {
      say(party.time, ms(sumOf(cost.parts, party.side)));
      say(party.what, what[party.side]);
    }
    const spoken = this.parties.map(({ name, time, what: of }) => `${name.textContent} ${time.textContent}, ${of.textContent}`);
    byId("best-split").setAttribute("aria-label", `Where the time goes: ${spoken.join("; ")}`);
    say(byId("situation"), this.situation.sentence);
  }

  #compare(answer, looked) {
    const { plans } = this;
    const [local, cloud] = ["isLocal", "isAllCloud"].map((is) => plans.cuts.find((cut) => cut[is]));
    const isOther = looked !== null && looked !== answer.cut;
    this.comparison.show([
      ["best", answer.cost],
      [isOther ? looked.short : "", isOther ? answer.costs.get(looked) : null],
      ["device alone", answer.cut === local ? null : answer.costs.get(local)],
      ["cloud alone", answer.cut === cloud ? null : answer.costs.get(cloud)],
    ], (cost) => !cost.isAllowed || (answer.within !== null && !answer.within[cost.row]));
    say(byId("verdict"), this.#verdict(answer, local, cloud));
    const stageS = answer.stagesS[answer.row];
    const deviation = plans.all.deviation[answer.row];
    const changed = deviation === 0 ? "answers as the whole model does"
      : deviation >= Number.MAX_VALUE ? "changes the answer without a bound" : `changes the answer by ${digits(deviation * 100)} % of its largest value`;
    const { mark, leakage } = plans.candidates[answer.row];
    const origin = { "*": " One of its compute times is calibrated, not measured.", "^": " One of its compute times is predicted, not measured." };
    const leaks = leakage ? ` What crosses has a distance correlation of ${leakage.distance_correlation.toFixed(2)} with the input`
      + `${leakage.inversion_error === null ? "" : `, and an inverter still gets ${digits(leakage.inversion_error * 100)} % wrong`}: `
      + "an indicator, no guarantee." : "";
    say(byId("figures"), `In a stream: an answer every ${ms(stageS)}${stageS > 0 ? `, ${digits(1 / stageS)} a second` : ""}. This plan ${changed}.`
      + (origin[mark] ?? "") + leaks);
  }

  #verdict(answer, local, cloud) {
    const { cut, cost, costs, isRefused, objective, stagesS, energiesJ, row, within } = answer;
    if (isRefused) return this.#refusal(answer);
    if (objective.kind === "throughput") return `Best by throughput: an answer every ${ms(stagesS[row])}`;
    if (objective.kind === "energy") return `Best by energy: ${joules(energiesJ[row])} a frame`;
    if (objective.kind !== "latency") return `Best by ${objective.name}`;
    const ends = [[local, "the device alone"], [cloud, "the cloud alone"]]
      .map(([end, name]) => ({ end, name, ...costs.get(end) }))
      .filter((end) => end.isAllowed && (within === null || within[end.row]));
    if (!ends.length) return "Split here: neither side alone keeps what is asked";
    const rival = ends.reduce((least, end) => (end.totalS < least.totalS ? end : least));
    if (rival.end === cut || cost.totalS === 0) return `Do not split: ${rival.name} is best`;
    const gain = rival.totalS / cost.totalS;
    if (gain < 1.1) return `Do not split: it would gain only ${times(gain)} over ${rival.name}`;
    return `Split here: ${times(gain)} as fast as ${rival.name}`;
  }

  /** Why no plan is left, with the nearest that there is. */
  #refusal({ pricesS, energiesJ, at }) {
    const { deadline, energy } = this.situation;
    const frozen = this.plans.frozen.rows;
    const least = (values) => Math.min(...frozen.map((row) => values[row]).filter((each) => !Number.isNaN(each)));
    const told = [];
    if (deadline !== null) told.push(`${ms(deadline)} (the fastest takes ${ms(least(pricesS))})`);
    if (energy !== null) told.push(`${joules(energy)} (the least is ${joules(least(energiesJ))})`);
    return `No plan over ${mbit(at.upBytesPerS)} keeps ${told.join(" with ")}`;
  }

  #look(answer, looked) {
    const reader = byId("look");
    const cut = looked ?? answer.cut;
    const cost = answer.costs.get(cut);
    const candidate = this.plans.candidates[cost.row];
    const more = cut === answer.cut ? "the best" : `${ms(cost.totalS - answer.cost.totalS)} more: ${
      reason(this.plans.all, cost.row, answer.row, answer.at, this.plans.terms)}`;
    const refused = cost.isAllowed ? "" : ", not allowed";
    const text = `${called(cut)} (${inWords(candidate, this.facts.has_choice_of_runtimes)}): ${marked(candidate, cost.totalS)}, ${more}${refused}`;
    say(byId("looked"), text);
    reader.value = this.plans.cuts.indexOf(cut);
    reader.setAttribute("aria-valuetext", text);
  }

  /** The strip changes with everything but the uplink. */
  #rates(answer) {
    const { situation } = this;
    const { rtt, queue, slowdown, deadline, energy, leakage, follows, objective } = situation;
    const way = follows ? situation.ratio : situation.down;
    const key = [way, follows, rtt, queue, slowdown, deadline, energy, leakage, objective, this.ratesChart.width].join();
    if (key !== this.ratesKey) {
      this.ratesKey = key;
      this.found = this.plans.rates(this.ratesChart.values, (uplink) => situation.atUplink(uplink), situation.wanted);
      this.ratesChart.draw(this.found);
    }
    this.ratesChart.mark(situation.up);
    const span = this.found.spans.find(({ from, to }) => from <= situation.up && situation.up < to);
    if (!span || span.cut !== answer.cut) {
      say(byId("span"), "Drag along the strip to set the uplink.");
      return;
    }
    const [first, last] = [this.found.spans[0], this.found.spans[this.found.spans.length - 1]];
    const range = span === first && span === last ? "at every uplink"
      : span === first ? `below ${mbit(span.to)}` : span === last ? `from ${mbit(span.from)} on`
        : `from ${mbit(span.from)} to ${mbit(span.to)}`;
    say(byId("span"), `${called(answer.cut)}: best ${range}${situation.follows ? `, the downlink ${short(situation.ratio)} times as fast` : ""}.`);
  }

  #tellWhatItIs() {
    const { facts } = this;
    const side = (each) => `${each.cpu || each.device}${each.accelerator ? ` with ${each.accelerator}` : ""} `
      + `(${each.runtime}, ${each.threads} thread${each.threads === 1 ? "" : "s"}${each.slowdown === 1 ? "" : `, ${short(each.slowdown)}× slower`})`;
    const model = facts.title.includes(facts.model.name) ? "" : `${facts.model.name}: `;
    say(byId("pair"), model + side(facts.edge) + (facts.cloud ? ` and ${side(facts.cloud)}` : ""));
    for (const limit of facts.limits) element(byId("notes"), "li", "", `every plan keeps ${limit}`);
    for (const note of facts.notes) element(byId("notes"), "li", "", note);
    const has = (is) => facts.candidates.some(is);
    const marks = [
      [has(({ mark }) => mark === "*"), "* a compute time is calibrated from its neighbours, not measured"],
      [has(({ mark }) => mark === "^"), "^ a compute time is predicted from other models, not measured"],
      [has((each) => each.energy_origin === "modelled"), "~ the energy is modelled from measured parts"],
      [has((each) => each.energy_origin === "assumed"), "? the energy is assumed from a data sheet or a radio's published figures"],
    ];
    for (const [is, text] of marks) if (is) element(byId("notes"), "li", "", text);
    const measured = [...new Set([facts.edge, facts.cloud].filter(Boolean).map((each) => each.created.slice(0, 10)))];
    say(byId("made"), `Measured ${measured.join(" and ")}. Model ${facts.model.digest.slice(0, 12)}. Made by cleft-plan show; computed in this page, nothing is sent anywhere.`);
    for (const { name, label } of KINDS) element(byId("legend"), "li", name, label);
    for (const [name, label] of [["best", "best plan"], ["local", "all on the device"], ["cloud", "all in the cloud"]]) {
      element(byId("rates-legend"), "li", `line ${name}`, label);
    }
    byId("look").max = this.plans.cuts.length - 1;
  }

  #listen() {
    const plot = byId("cuts-plot");
    const cutAt = (event) => this.cutsChart.nearest(event.clientX - plot.getBoundingClientRect().left);
    const look = (looked, pinned) => {
      if (looked === this.looked && pinned === this.pinned) return;
      Object.assign(this, { looked, pinned });
      this.draw();
    };
    plot.addEventListener("pointermove", (event) => look(cutAt(event), event.buttons ? cutAt(event) : this.pinned));
    plot.addEventListener("pointerdown", (event) => look(cutAt(event), cutAt(event)));
    plot.addEventListener("pointerleave", () => look(null, this.pinned));
    byId("look").addEventListener("input", (event) => look(null, this.plans.cuts[event.target.valueAsNumber]));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") look(null, null);
    });
    const strip = byId("rates-plot");
    const setRate = (event) => {
      const rate = this.ratesChart.rate(event.clientX - strip.getBoundingClientRect().left) / BYTES_PER_MBIT;
      this.situation.set("up", Number(rate.toPrecision(3)) * BYTES_PER_MBIT);
      this.draw();
    };
    strip.addEventListener("pointerdown", (event) => {
      strip.setPointerCapture(event.pointerId);
      setRate(event);
    });
    strip.addEventListener("pointermove", (event) => {
      if (event.buttons) setRate(event);
    });
    strip.addEventListener("pointerup", () => this.keep());
    this.tables.allCuts.addEventListener("toggle", () => this.tables.showAll(this.answer));
    addEventListener("hashchange", () => {
      this.situation.readAddress(location.hash.slice(1));
      this.draw();
    });
    new ResizeObserver(() => this.#resize()).observe(byId("costs"));
  }

  #resize() {
    const width = byId("cuts-plot").clientWidth;
    if (width === 0 || width === this.cutsChart.width) return;
    this.cutsChart.resize(width);
    this.layersChart?.resize(width);
    this.ratesChart.resize(width);
    this.draw();
  }
}

const facts = JSON.parse(byId("facts").textContent);
const page = new Page(facts);

/** For the console and for tests: the plan of any situation, by any objective of the page. */
globalThis.cleft = Object.freeze({
  at(at, { objective: name = page.situation.objective, deadlineS = null, energyJ = null, leakage = facts.max_leakage } = {}) {
    const objective = facts.objectives.find((each) => each.name === name);
    if (!objective) throw new Error(`no objective ${name}; choose from ${facts.objectives.map((each) => each.name).join(", ")}`);
    const { row, isRefused } = page.plans.choose(at, { objective, deadlineS, energyJ, leakage });
    if (isRefused) return null;
    const { cut, cut_id, codec, edge_runtime, cloud_runtime } = facts.candidates[row];
    const parts = breakdown(page.plans.all, row, at, facts.terms);
    return {
      cut, cut_id, codec, edge_runtime, cloud_runtime,
      predicted_s: latencies(page.plans.all, at)[row],
      stage_s: slowestStages(page.plans.all, at)[row],
      energy_j: energies(page.plans.all, at)[row],
      breakdown: Object.fromEntries(facts.terms.map((term, place) => [term, parts[place]])),
    };
  },
});
