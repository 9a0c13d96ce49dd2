/* Tables, for who wants numbers: runners-up at once, all cuts and all layers when they are opened. */

const RUNNERS = 5;

const byId = (id) => document.getElementById(id);

/** Set a text only where it changes, so that nothing is laid out anew for nothing. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The same for a name, which may be broken after its dots. */
function sayName(element, text) {
  if (element.textContent === text) return;
  element.replaceChildren(...text.split(/(?<=[.:])/).flatMap((part) => [part, document.createElement("wbr")]));
}

function element(parent, tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}

/** A table of texts; rows and cells are used again. */
class Cells {
  constructor(table, headings) {
    const row = this.#of(this.#of(table, "thead", "rowgroup"), "tr", "row");
    for (const [text, className] of headings) {
      this.#of(row, "th", "columnheader", className, text).setAttribute("scope", "col");
    }
    this.body = this.#of(table, "tbody", "rowgroup");
    this.classes = headings.map(([, className]) => className);
    table.setAttribute("role", "table");
  }

  /** Roles are said outright: on a narrow screen the style lays rows out as cards, which would take them away. */
  #of(parent, tag, role, className, text) {
    const made = element(parent, tag, className, text);
    made.setAttribute("role", role);
    return made;
  }

  /** ``texts``: a row of texts each; the first of each names its row. */
  show(texts) {
    const rows = this.body.rows;
    while (rows.length > texts.length) rows[rows.length - 1].remove();
    while (rows.length < texts.length) {
      const row = this.#of(this.body, "tr", "row");
      this.classes.forEach((className, place) => {
        const cell = this.#of(row, place ? "td" : "th", place ? "cell" : "rowheader", className);
        if (!place) cell.setAttribute("scope", "row");
      });
    }
    texts.forEach((cells, place) => cells.forEach((text, column) => say(rows[place].cells[column], text)));
  }
}

/** Which codec and runtimes a row takes. */
function means(candidate, hasRuntimes) {
  const codec = candidate.is_local ? "–" : candidate.codec;
  if (!hasRuntimes) return codec;
  return `${codec}, ${candidate.edge_runtime}${candidate.is_local ? "" : ` / ${candidate.cloud_runtime}`}`;
}

/** The same for a sentence. */
function inWords(candidate, hasRuntimes) {
  const codec = candidate.is_local ? "nothing is sent" : candidate.codec === "source" ? "the original input is sent"
    : candidate.codec === "none" ? "sent as it is" : `codec ${candidate.codec}`;
  if (!hasRuntimes) return codec;
  return `${codec}; ${candidate.edge_runtime}${candidate.is_local ? "" : ` and ${candidate.cloud_runtime}`}`;
}

const MARKS = { measured: "", modelled: "~", assumed: "?", calibrated: "*", predicted: "^" };

/** A latency, an energy, with the mark of what was not measured. */
const marked = (candidate, seconds) => `${ms(seconds)}${candidate.mark}`;
const markedJ = (candidate, value) => `${joules(value)}${MARKS[candidate.energy_origin] ?? ""}`;

class Tables {
  constructor(facts, plans) {
    this.facts = facts;
    this.plans = plans;
    const cuts = [["cut", "name"], ["codec", ""], ["latency", "number"], ["sends", "number"]];
    if (facts.has_energy) cuts.push(["energy", "number"]);
    if (facts.candidates.some((each) => each.leakage)) cuts.push(["gives away", "number"]);
    this.runners = new Cells(document.getElementById("runners"), [...cuts, ["why it lost", "why"]]);
    this.allCuts = document.getElementById("all-cuts");
    this.allLayers = document.getElementById("all-layers");
    this.cuts = new Cells(this.allCuts.querySelector("table"), [
      ...cuts, ["an answer every", "number"], ["device", "number"], ["network", "number"], ["worker", "number"],
    ]);
    this.layers = new Cells(this.allLayers.querySelector("table"), [
      ["layer", "name"], ["kind", ""], ["time", "number"],
      ...(facts.layers.energy_j.length ? [["energy", "number"]] : []),
      ["makes", "number"], ["weights", "number"],
    ]);
    this.allLayers.addEventListener("toggle", () => this.#showLayers(), { once: true });
  }

  /** The runners-up, at once. */
  show(answer) {
    const { terms, all } = this.plans;
    this.runners.show(this.plans.others(answer).slice(0, RUNNERS).map((cut) => {
      const { row, totalS } = answer.costs.get(cut);
      const lostS = totalS - answer.cost.totalS;
      const why = `${lostS < 0 ? "−" : "+"}${ms(Math.abs(lostS))}: ${reason(all, row, answer.row, answer.at, terms)}`;
      return [...this.#cut(cut, answer, row, totalS), why];
    }));
  }

  /** All cuts, where they are open; call it when the sliders rest. */
  showAll(answer) {
    if (!this.allCuts.open) return;
    this.cuts.show(this.plans.cuts.map((cut) => {
      const { row, totalS, parts } = answer.costs.get(cut);
      const sides = ["device", "network", "cloud"].map((side) => ms(sumOf(parts, side)));
      return [...this.#cut(cut, answer, row, totalS), ms(answer.stagesS[row]), ...sides];
    }));
  }

  #cut(cut, answer, row, totalS) {
    const candidate = this.plans.candidates[row];
    const sends = cut.isLocal ? "–" : size(this.plans.all.up_bytes[row]);
    const texts = [cut.label, means(candidate, this.facts.has_choice_of_runtimes), marked(candidate, totalS), sends];
    if (this.facts.has_energy) texts.push(markedJ(candidate, answer.energiesJ[row]));
    if (this.facts.candidates.some((each) => each.leakage)) texts.push(givesAway(candidate));
    return texts;
  }

  #showLayers() {
    const { name, kind, forward_s, forward_how, energy_j, energy_origin } = this.facts.layers;
    const { output_bytes, weight_bytes } = this.facts.layers;
    this.layers.show(name.map((each, layer) => [
      each, kind[layer], `${ms(forward_s[layer])}${MARKS[forward_how[layer]]}`,
      ...(energy_j.length ? [`${joules(energy_j[layer])}${MARKS[energy_origin[layer]]}`] : []),
      size(output_bytes[layer]), size(weight_bytes[layer]),
    ]));
  }
}

/** The distance correlation of the input and what crosses, with the mark of one that was taken from other cuts. */
function givesAway({ leakage, is_local: isLocal }) {
  if (isLocal) return "nothing";
  if (!leakage) return "–";
  return `${leakage.how === "bounded" ? "~" : ""}${leakage.distance_correlation.toFixed(2)}`;
}

/** What one side spends of a frame's time. */
function sumOf(parts, side) {
  return parts.reduce((sum, part, kind) => (KINDS[kind].side === side ? sum + part : sum), 0);
}
