/* What every cut costs. */

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
    this.groups = grouped(xs.length, width);
    this.edges = this.groups.map((group) => {
      const [first, last] = [group[0], group[group.length - 1]];
      const from = first ? (xs[first - 1] + xs[first]) / 2 : xs[first] - half;
      const to = last < xs.length - 1 ? (xs[last + 1] + xs[last]) / 2 : xs[last] + half;
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

  /** ``looked``: a cut to mark beside the best one, or null. */
  draw({ costs: costsByCut, cut: chosen }, looked, deadlineS) {
    const costOf = (cut) => costsByCut.get(cut);
    const costs = this.groups.map((group) => this.#least(group.map((place) => costOf(this.columns[place]))));
    const floor = this.height - this.bottom;
    const bestS = costOf(chosen).totalS;
    const ends = Math.max(costOf(this.columns[0]).totalS, costOf(this.columns[this.columns.length - 1]).totalS);
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

  /** Of cuts that are drawn as one the one to draw: that which costs least, of those that are allowed. */
  #least(costs) {
    return costs.reduce((least, cost) => {
      const isAllowed = cost.isAllowed - least.isAllowed;
      return isAllowed > 0 || (isAllowed === 0 && cost.totalS < least.totalS) ? cost : least;
    });
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
    const at = Math.min(Math.max(x, GUTTER + 42), this.width - 42);
    stem.setAttribute("d", this.#stem(cut, y(cost.totalS), floor));
    flag.setAttribute("x", tenth(at));
    flag.textContent = `best ${ms(cost.totalS)}`;
  }

  #stem(cut, y, floor) {
    const x = tenth(this.x(cut.depth));
    return `M${x} ${this.top - 5}V${floor}M${x} ${y}m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0`;
  }
}
