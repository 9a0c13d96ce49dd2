/* Which plans no other beats, by latency and by what else they take. */

/** Latency against energy, or against bytes sent where nobody knows energies: a ring for the best plan of every cut, a
    dot for every plan that no other beats, and the steps between those. */
class FrontChart extends Picture {
  constructor(svg, isEnergy) {
    super(svg, 236);
    this.isEnergy = isEnergy;
    this.top = 12;
    this.floor = this.height - 40;
    this.grid = node(svg, "g");
    this.beaten = node(svg, "path", { class: "beaten" });
    this.steps = node(svg, "path", { class: "rate best" });
    this.unbeaten = node(svg, "path", { class: "unbeaten" });
    this.best = node(svg, "path", { class: "ringed" });
  }

  /** ``cuts`` and ``front`` are points {latencyS, cost, name}, the front by growing latency; ``best`` is one of any. */
  draw(cuts, front, best) {
    const points = [...cuts, ...front, best];
    const lowS = Math.min(...points.map((each) => each.latencyS).filter((each) => each > 0), 1) * 0.9;
    const highS = Math.min(Math.max(...points.map((each) => each.latencyS)) * 1.1, lowS * 60);
    const over0 = points.map((each) => each.cost).filter((each) => each > 0);
    const low = Math.min(...over0, 1e9) * (over0.length < points.length ? 0.4 : 0.9);
    const high = Math.max(...over0, low * 2) * 1.1;
    const room = this.width - GUTTER - 8;
    const share = (value, from, to) => Math.log(Math.max(value, from) / from) / Math.log(Math.max(to / from, 1.0001));
    const x = ({ latencyS }) => tenth(GUTTER + 4 + share(latencyS, lowS, highS) * room);
    const y = ({ cost }) => tenth(this.floor - share(cost, low, high) * (this.floor - this.top));
    const isIn = (each) => each.latencyS <= highS;
    const seen = new Set(cuts.filter(isIn).map((each) => `M${Math.round(x(each))} ${Math.round(y(each))}`));
    const half = (radius, way) => `a${radius} ${radius} 0 1 0 ${2 * radius * way} 0`;
    const circle = (radius) => `m${-radius} 0${half(radius, 1)}${half(radius, -1)}`;
    const shown = front.filter(isIn);
    this.beaten.setAttribute("d", [...seen].map((each) => each + circle(2.5)).join(""));
    this.unbeaten.setAttribute("d", shown.map((each) => `M${x(each)} ${y(each)}${circle(4)}`).join(""));
    this.steps.setAttribute("d", shown.map((each, place) => (
      place ? `H${x(each)}V${y(each)}` : `M${x(each)} ${y(each)}`
    )).join(""));
    this.best.setAttribute("d", isIn(best) ? `M${x(best)} ${y(best)}${circle(7)}` : "");
    this.#ticks([lowS, highS], [low, high], over0.length < points.length, x, y);
    this.#names(shown, x, y);
  }

  #ticks([lowS, highS], [low, high], has0, x, y) {
    const text = (value) => (this.isEnergy ? joules(value) : size(value));
    const costs = [...(has0 ? [0] : []), ...logTicks(low, high)];
    this.each(this.grid, "path", "gridline", costs, (line, cost) => {
      line.setAttribute("d", `M${GUTTER} ${y({ cost })}H${this.width}`);
    });
    this.each(this.svg, "text", "tick left", costs, (label, cost) => {
      label.setAttribute("x", GUTTER - 6);
      label.setAttribute("y", y({ cost }) + 4);
      label.textContent = text(cost).replace(/\.0+(?= )/, "");
    });
    const times = logTicks(lowS, highS);
    this.each(this.svg, "text", "tick axis", times, (label, latencyS) => {
      label.setAttribute("x", x({ latencyS }));
      label.setAttribute("y", this.floor + 18);
      label.setAttribute("text-anchor", x({ latencyS }) > this.width - 30 ? "end" : "middle");
      label.textContent = `${short(latencyS * 1e3)}${latencyS === times[times.length - 1] ? " ms" : ""}`;
    });
  }

  /** Names of what no plan beats, where there is room above or beside. */
  #names(front, x, y) {
    const placed = [];
    for (const each of front) {
      const isLeft = x(each) > this.width - 7 * each.name.length - 12;
      const box = { each, isLeft, x: x(each) + (isLeft ? -9 : 9), y: y(each) - 6 };
      const from = isLeft ? box.x - 6.5 * each.name.length : box.x;
      Object.assign(box, { from, to: from + 6.5 * each.name.length });
      const isFree = placed.every((other) => (
        Math.abs(other.y - box.y) > 12 || other.to < box.from || other.from > box.to
      ));
      if (isFree && from > GUTTER) placed.push(box);
    }
    this.each(this.svg, "text", "tick point", placed, (label, box) => {
      label.setAttribute("x", box.x);
      label.setAttribute("y", box.y);
      label.setAttribute("text-anchor", box.isLeft ? "end" : "start");
      label.textContent = box.each.name;
    });
  }
}

/** Round numbers between two, for an axis of powers of ten. */
function logTicks(low, high) {
  const steps = high / low > 200 ? [1] : high / low > 12 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    const round = steps.map((step) => Number((step * power).toPrecision(6)));
    found.push(...round.filter((each) => each >= low && each <= high));
  }
  const every = Math.ceil(found.length / 8);
  return found.filter((_, place) => place % every === 0);
}
