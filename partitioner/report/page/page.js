/* The page itself: sliders set the situation, and once a frame at most the answer is computed and told. */

const REST_MS = 350;

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
    const runtime = facts.has_choice_of_runtimes ? facts.edge.runtime : "";
    this.layersChart = facts.layers.name.length ? new LayersChart(byId("layers-chart"), facts.layers, runtime) : null;
    const { low, high, per } = SLIDERS.up;
    const rates = { low: low * per, high: high * per };
    this.ratesChart = new RatesChart(byId("rates-chart"), rates, this.layers, facts.frozen.length);
    this.frontChart = new FrontChart(byId("front-chart"), facts.has_energy);
    this.tables = new Tables(facts, this.plans);
    this.glance = new Glance(facts, this.plans, this.layers);
    this.comparison = new Comparison(byId("rows"));
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

  /** Write the situation into the address, where the page has one. */
  keep() {
    if (!["file:", "http:", "https:"].includes(location.protocol)) return;
    const address = this.situation.address;
    history.replaceState(null, "", address ? `#${address}` : location.pathname);
  }

  #draw() {
    const { situation, plans } = this;
    const answer = plans.answer(situation.at, situation.wanted);
    const looked = this.looked ?? this.pinned;
    this.answer = answer;
    this.controls.show();
    this.glance.show(answer);
    this.comparison.show(plans, answer, looked);
    say(byId("situation"), situation.sentence);
    say(byId("verdict"), verdictOf(plans, situation, answer));
    say(byId("figures"), figuresOf(plans, answer));
    this.cutsChart.draw(answer, looked, situation.deadline);
    this.layersChart?.draw(answer.cut.depth);
    this.#look(looked ?? answer.cut);
    this.#rates();
    this.#front();
    this.tables.show(answer);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.#rest(), REST_MS);
  }

  /** What can wait until the sliders rest. */
  #rest() {
    this.tables.showAll(this.answer);
    const { cut, cost } = this.answer;
    say(byId("spoken"), `${byId("verdict").textContent}. Best cut: ${called(cut)}, ${ms(cost.totalS)}.`);
  }

  #look(cut) {
    const text = comparisonOf(this.plans, this.answer, cut, this.facts.has_choice_of_runtimes);
    say(byId("looked"), text);
    byId("look").value = this.plans.cuts.indexOf(cut);
    byId("look").setAttribute("aria-valuetext", text);
  }

  /** The strip changes with everything but the uplink. */
  #rates() {
    const { situation, plans, ratesChart } = this;
    const { deadlineS, energyJ, leakage, objective } = situation.wanted;
    const { downBytesPerS, rttS, queueS, slowdown } = situation.at;
    const way = situation.follows ? `follows ${situation.ratio}` : downBytesPerS;
    const key = [way, rttS, queueS, slowdown, deadlineS, energyJ, leakage, objective.name, ratesChart.width].join();
    if (key !== this.ratesKey) {
      this.ratesKey = key;
      this.found = plans.rates(ratesChart.values, (uplink) => situation.atUplink(uplink), situation.wanted);
      ratesChart.draw(this.found);
    }
    ratesChart.mark(situation.up);
    say(byId("span"), spanOf(this.found.spans, situation, this.answer.cut));
  }

  #front() {
    const { plans, answer, facts } = this;
    const costs = facts.has_energy ? answer.energiesJ : plans.all.up_bytes;
    const point = (row) => {
      const cut = plans.cutOfRow.get(row);
      return { latencyS: answer.pricesS[row], cost: costs[row], name: cut.isAllCloud ? "cloud" : cut.short };
    };
    const isShown = (cost) => isKept(answer, cost) && !Number.isNaN(costs[cost.row]);
    const cuts = [...answer.costs.values()].filter(isShown).map(({ row }) => point(row));
    const front = plans.front(answer, this.situation.leakage);
    this.frontChart.draw(cuts, front.map(point), point(answer.row));
    say(byId("front-said"), frontOf(plans, answer, front, facts));
  }

  #tellWhatItIs() {
    const { title, model, edge, cloud } = this.facts;
    const sides = [edge, cloud].filter(Boolean);
    say(byId("pair"), (title.includes(model.name) ? "" : `${model.name}: `) + sides.map(machine).join(" and "));
    for (const note of notesOf(this.facts)) element(byId("notes"), "li", "", note);
    const days = [...new Set(sides.map((each) => each.created.slice(0, 10)).filter(Boolean))];
    say(byId("made"), `${days.length ? `Measured ${days.join(" and ")}. ` : ""}Model ${model.digest.slice(0, 12)}. `
      + "Made by cleft-plan show; computed in this page, nothing is sent anywhere.");
    for (const { name, label } of KINDS) element(byId("legend"), "li", name, label);
    say(byId("front-title"), `Latency against ${this.facts.has_energy ? "energy" : "bytes sent"}`);
    const lines = { best: "best plan", local: "all on the device", cloud: "all in the cloud" };
    for (const [name, label] of Object.entries(lines)) element(byId("rates-legend"), "li", `line ${name}`, label);
    byId("look").max = this.plans.cuts.length - 1;
  }

  #listen() {
    this.#listenToCuts(byId("cuts-plot"));
    this.#listenToRates(byId("rates-plot"));
    this.tables.allCuts.addEventListener("toggle", () => this.tables.showAll(this.answer));
    addEventListener("hashchange", () => {
      this.situation.readAddress(location.hash.slice(1));
      this.draw();
    });
    // In the next frame: what is drawn changes sizes again, which may not happen while they are being told.
    new ResizeObserver(() => requestAnimationFrame(() => this.#resize())).observe(byId("costs"));
  }

  /** Cuts are looked at by pointing, and stay so by a press or by keys until the best one is pressed, or Escape. */
  #listenToCuts(plot) {
    const cutAt = (event) => this.cutsChart.nearest(event.clientX - plot.getBoundingClientRect().left);
    const look = (looked, pinned) => {
      if (looked === this.looked && pinned === this.pinned) return;
      this.looked = looked;
      this.pinned = pinned === this.answer.cut ? null : pinned;
      this.draw();
    };
    plot.addEventListener("pointermove", (event) => look(cutAt(event), event.buttons ? cutAt(event) : this.pinned));
    plot.addEventListener("pointerdown", (event) => look(cutAt(event), cutAt(event)));
    plot.addEventListener("pointerleave", () => look(null, this.pinned));
    byId("look").addEventListener("input", (event) => look(null, this.plans.cuts[event.target.valueAsNumber]));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") look(null, null);
    });
  }

  /** The strip is a slider of the uplink. */
  #listenToRates(strip) {
    const set = (event) => {
      const rate = this.ratesChart.rate(event.clientX - strip.getBoundingClientRect().left) / BYTES_PER_MBIT;
      this.situation.set("up", Number(rate.toPrecision(3)) * BYTES_PER_MBIT);
      this.draw();
    };
    strip.addEventListener("pointerdown", (event) => {
      strip.setPointerCapture(event.pointerId);
      set(event);
    });
    strip.addEventListener("pointermove", (event) => {
      if (event.buttons) set(event);
    });
    strip.addEventListener("pointerup", () => this.keep());
  }

  #resize() {
    const width = byId("cuts-plot").clientWidth;
    if (width === 0 || width === this.cutsChart.width) return;
    this.cutsChart.resize(width);
    this.layersChart?.resize(width);
    this.ratesChart.resize(width);
    this.frontChart.resize(width);
    this.#draw();
  }
}

const facts = JSON.parse(byId("facts").textContent);
const page = new Page(facts);

/** For the console and for tests: the plan of any situation, by any objective of the page; null where there is none. */
function at(situation, { objective: name = page.situation.objective, ...limits } = {}) {
  const objective = facts.objectives.find((each) => each.name === name);
  if (!objective) throw new Error(`no objective ${name} on this page`);
  const { deadlineS = null, energyJ = null, leakage = facts.max_leakage } = limits;
  const { row, isRefused } = page.plans.choose(situation, { objective, deadlineS, energyJ, leakage });
  if (isRefused) return null;
  const { cut, cut_id, codec, edge_runtime, cloud_runtime } = facts.candidates[row];
  const { all } = page.plans;
  const parts = breakdown(all, row, situation, facts.terms);
  return {
    cut, cut_id, codec, edge_runtime, cloud_runtime,
    predicted_s: latencies(all, situation)[row],
    stage_s: slowestStages(all, situation)[row],
    energy_j: energies(all, situation)[row],
    breakdown: Object.fromEntries(facts.terms.map((term, place) => [term, parts[place]])),
  };
}

/** The latencies and energies (bytes sent, where nobody knows energies) of what no plan beats in a situation. */
function front(situation, leakage = facts.max_leakage) {
  const wanted = { ...page.situation.wanted, leakage };
  const answer = page.plans.answer(situation, wanted);
  const costs = facts.has_energy ? answer.energiesJ : page.plans.all.up_bytes;
  return page.plans.front(answer, leakage).map((row) => [answer.pricesS[row], costs[row]]);
}

/** The candidates that are chosen among within a bound on what crosses: their places among all. */
function frozen(leakage) {
  page.plans.bind(leakage);
  return page.plans.frozen.rows;
}

globalThis.cleft = Object.freeze({ at, front, frozen });
