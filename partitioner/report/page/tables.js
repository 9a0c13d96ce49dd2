/* Tables, for who wants numbers: runners-up at once, all cuts and all layers when they are opened. */

const RUNNERS = 5;

/** Set a text only where it changes, so that nothing is laid out anew for nothing. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
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
    const row = element(element(table, "thead"), "tr");
    headings.forEach(([text, className]) => element(row, "th", className, text).setAttribute("scope", "col"));
    this.body = element(table, "tbody");
    this.classes = headings.map(([, className]) => className);
  }

  /** ``texts``: a row of texts each; the first of each names its row. */
  show(texts) {
    const rows = this.body.rows;
    while (rows.length > texts.length) rows[rows.length - 1].remove();
    while (rows.length < texts.length) {
      const row = element(this.body, "tr");
      this.classes.forEach((className, place) => {
        const cell = element(row, place ? "td" : "th", className);
        if (!place) cell.setAttribute("scope", "row");
      });
    }
    texts.forEach((cells, place) => cells.forEach((text, column) => say(rows[place].cells[column], text)));
  }
}

/** Which codec and runtimes a row takes. */
function means(candidate, hasRuntimes) {
  const codec = candidate.is_local ? "nothing is sent" : candidate.codec;
  if (!hasRuntimes) return codec;
  return `${codec}, ${candidate.edge_runtime}${candidate.is_local ? "" : ` / ${candidate.cloud_runtime}`}`;
}

/** A latency with the mark of what was not measured. */
const marked = (candidate, seconds) => `${ms(seconds)}${candidate.is_calibrated ? "*" : ""}`;

class Tables {
  constructor(facts, plans) {
    this.facts = facts;
    this.plans = plans;
    const cuts = [["cut", "name"], ["codec", ""], ["latency", "number"], ["sends", "number"]];
    this.runners = new Cells(document.getElementById("runners"), [...cuts, ["why it lost", "why"]]);
    this.allCuts = document.getElementById("all-cuts");
    this.allLayers = document.getElementById("all-layers");
    this.cuts = new Cells(this.allCuts.querySelector("table"), [
      ...cuts, ["an answer every", "number"], ["device", "number"], ["network", "number"], ["worker", "number"],
    ]);
    this.layers = new Cells(this.allLayers.querySelector("table"), [
      ["layer", "name"], ["kind", ""], ["time", "number"], ["makes", "number"], ["weights", "number"],
    ]);
    this.allLayers.addEventListener("toggle", () => this.#showLayers(), { once: true });
  }

  /** The runners-up, at once. */
  show(answer, deadlineS) {
    const { terms, all } = this.plans;
    this.runners.show(this.plans.others(answer, deadlineS).slice(0, RUNNERS).map((cut) => {
      const { row, totalS } = answer.costs.get(cut);
      const lostS = totalS - answer.cost.totalS;
      const why = `${lostS < 0 ? "−" : "+"}${ms(Math.abs(lostS))}: ${reason(all, row, answer.row, answer.at, terms)}`;
      return [...this.#cut(cut, row, totalS), why];
    }));
  }

  /** All cuts, where they are open; call it when the sliders rest. */
  showAll(answer) {
    if (!this.allCuts.open) return;
    this.cuts.show(this.plans.cuts.map((cut) => {
      const { row, totalS, parts } = answer.costs.get(cut);
      const sides = ["device", "network", "cloud"].map((side) => ms(sumOf(parts, side)));
      return [...this.#cut(cut, row, totalS), ms(answer.stagesS[row]), ...sides];
    }));
  }

  #cut(cut, row, totalS) {
    const candidate = this.plans.candidates[row];
    const sends = cut.isLocal ? "–" : size(this.plans.all.up_bytes[row]);
    return [cut.label, means(candidate, this.facts.has_choice_of_runtimes), marked(candidate, totalS), sends];
  }

  #showLayers() {
    const { name, kind, forward_s, output_bytes, weight_bytes } = this.facts.layers;
    this.layers.show(name.map((each, layer) => [
      each, kind[layer], ms(forward_s[layer]), size(output_bytes[layer]), size(weight_bytes[layer]),
    ]));
  }
}

/** What one side spends of a frame's time. */
function sumOf(parts, side) {
  return parts.reduce((sum, part, kind) => (KINDS[kind].side === side ? sum + part : sum), 0);
}
