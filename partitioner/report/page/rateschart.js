/* Which cut is best at which uplink. */

/** Of all candidates at all rates: more would take longer than a frame. */
const MOST_PRICES = 400000;

/** Latency against uplink for the best plan and for both extremes, over a strip of which cut is best where. */
class RatesChart extends Picture {
  /** ``candidates``: how many are priced at every rate. */
  constructor(svg, { low, high }, layers, candidates) {
    super(svg, 206);
    this.most = MOST_PRICES / candidates;
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

  /** Rates to ask at: one for every three pixels, fewer where that would take longer than a frame. */
  get values() {
    const count = Math.floor(Math.max(Math.min(this.width / 3, this.most), 40));
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
    const asked = this.width < 500 ? [0.1, 1, 10, 1000] : [0.1, 1, 10, 100, 1000];
    const rates = asked.filter((each) => each * BYTES_PER_MBIT <= this.high);
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
