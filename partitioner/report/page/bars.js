/* Bars of stacked parts: where the time of a plan goes. */

/** One element for each of KINDS. */
function splitBar(parent) {
  return KINDS.map(({ name }) => element(parent, "span", name));
}

function fill(bar, parts, wholeS) {
  bar.forEach((part, kind) => {
    const width = `${wholeS > 0 ? ((parts[kind] / wholeS) * 100).toFixed(2) : 0}%`;
    if (part.style.width !== width) part.style.width = width;
  });
}

const SIDES = { device: "Device", network: "Network", cloud: "Cloud" };

/** The best plan at a glance: its name, its latency, and where that goes. */
class Glance {
  constructor(facts, plans, layers) {
    Object.assign(this, { facts, plans, layers });
    this.split = splitBar(byId("best-split"));
    this.parties = Object.entries(SIDES).map(([side, name]) => {
      const group = element(byId("parties"), "div", side);
      const title = element(group, "dt", "", name);
      return { side, title, time: element(group, "dd", "time"), what: element(group, "dd", "quiet") };
    });
  }

  show({ cut, cost, row, isRefused, energiesJ }) {
    const candidate = this.plans.candidates[row];
    say(byId("best-title"), isRefused ? "No plan keeps the limits; without them" : "Best cut");
    byId("glance").classList.toggle("refused", isRefused);
    byId("best-cut").classList.toggle("end", cut.isLocal || cut.isAllCloud);
    byId("best-cut").title = cut.name;
    sayName(byId("best-cut"), called(cut));
    say(byId("best-how"), inWords(candidate, this.facts.has_choice_of_runtimes));
    say(byId("best-ms"), inMs(cost.totalS));
    say(byId("best-unit"), `ms${candidate.mark}`);
    const origin = candidate.energy_origin ?? "unknown";
    if (this.facts.has_energy) say(byId("best-joules"), `${joules(energiesJ[row])}, ${origin}`);
    fill(this.split, cost.parts, cost.totalS);
    this.#tell(cut, cost, row);
  }

  #tell(cut, cost, row) {
    const { up_bytes, down_bytes } = this.plans.all;
    const kept = cut.isLocal ? this.layers : cut.depth;
    const what = {
      device: `${kept} of ${this.layers} layers`,
      network: cut.isLocal ? "nothing is sent" : `${size(up_bytes[row])} up, ${size(down_bytes[row])} down`,
      cloud: `${this.layers - kept} layers`,
    };
    const spoken = this.parties.map((party) => {
      say(party.time, ms(sumOf(cost.parts, party.side)));
      say(party.what, what[party.side]);
      return `${party.title.textContent} ${party.time.textContent}, ${party.what.textContent}`;
    });
    byId("best-split").setAttribute("aria-label", `Where the time goes: ${spoken.join("; ")}`);
  }
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

  show(plans, answer, looked) {
    const costOf = (cut) => (cut === null || cut === answer.cut ? null : answer.costs.get(cut));
    const shown = [
      ["best", answer.cost],
      [looked?.short, costOf(looked)],
      ["device alone", costOf(plans.localCut)],
      ["cloud alone", costOf(plans.cloudCut)],
    ];
    const wholeS = Math.min(Math.max(...shown.map(([, cost]) => cost?.totalS ?? 0)), answer.cost.totalS * 6);
    shown.forEach(([who, cost], place) => {
      const { row, label, parts, value } = this.rows[place];
      row.hidden = cost === null;
      if (cost === null) return;
      const isRefused = !isKept(answer, cost);
      row.classList.toggle("torn", cost.totalS > wholeS * 1.000001);
      row.classList.toggle("refused", isRefused);
      say(label, isRefused ? `${who}, refused` : who);
      say(value, marked(plans.candidates[cost.row], cost.totalS));
      fill(parts, cost.parts, wholeS);
    });
  }
}
