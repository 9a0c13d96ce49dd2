/* What every layer takes and makes, on the axis of the cuts. */

/** Each layer's time as bars and what it makes as a line, on the same axis of depth. */
class LayersChart extends Picture {
  /** ``runtime``: what ran them, where plans take several. */
  constructor(svg, layers, runtime) {
    super(svg, layers.energy_j.length ? 230 : 156);
    this.layers = layers;
    this.runtime = runtime;
    this.count = layers.name.length;
    this.floor = this.height - 38;
    this.middle = layers.energy_j.length ? 118 : this.floor;
    this.kept = node(svg, "path", { class: "kept" });
    this.bars = node(svg, "path", { class: "bars" });
    this.line = node(svg, "path", { class: "line" });
    this.drained = node(svg, "path", { class: "drained" });
    this.mark = node(svg, "path", { class: "chosen" });
    this.texts = node(svg, "g");
  }

  x(depth) {
    return xOfDepth(depth, this.count, this.width);
  }

  resize(width) {
    super.resize(width);
    const { forward_s, forward_how, output_bytes, energy_j, energy_origin } = this.layers;
    this.groups = grouped(this.count, width);
    const bytes = this.#most(output_bytes).map((each) => Math.max(each, 1));
    const low = 10 ** Math.floor(Math.log10(Math.min(...bytes)));
    const high = Math.max(...bytes, low * 10);
    const yOfBytes = (each) => (
      tenth(this.middle - 4 - (Math.log(each / low) / Math.log(high / low)) * (this.middle - 26))
    );
    this.bars.setAttribute("d", this.#columns(forward_s, this.middle, this.middle - 24));
    this.drained.setAttribute("d", this.#columns(energy_j, this.floor, this.floor - this.middle - 22));
    this.line.setAttribute("d", bytes.map((each, place) => {
      const [from, to] = this.#ends(this.groups[place]);
      return `${place ? "L" : "M"}${tenth((from + to) / 2)} ${yOfBytes(each)}`;
    }).join(""));
    const origins = [...new Set(forward_how)];
    const time = [
      `time to ${ms(Math.max(...forward_s, 0))}`,
      this.runtime && ` on ${this.runtime}`,
      origins.every((each) => each === "measured") ? "" : `, ${origins.join(" and ")}`,
    ].join("");
    const words = [
      { x: GUTTER + 4, y: 12, anchor: "start", text: time, kind: "time" },
      { x: width, y: 12, anchor: "end", text: `bytes to ${size(Math.max(...output_bytes, 0))}`, kind: "bytes" },
    ];
    if (energy_j.length) {
      const text = `energy to ${joules(Math.max(...energy_j))}, ${[...new Set(energy_origin)].join(" and ")}`;
      words.push({ x: GUTTER + 4, y: this.middle + 14, anchor: "start", text, kind: "energy" });
    }
    this.each(this.texts, "text", "tick", words, (text, word) => {
      text.setAttribute("x", word.x);
      text.setAttribute("y", word.y);
      text.setAttribute("text-anchor", word.anchor);
      text.dataset.kind = word.kind;
      text.textContent = word.text;
    });
    this.#stages(stagesOf(this.layers.name));
  }

  #columns(values, floor, room) {
    const most = Math.max(...values, 1e-12);
    const gap = this.x(1) - this.x(0) > 5 ? 1 : 0;
    return this.#most(values).map((each, place) => {
      const [from, to] = this.#ends(this.groups[place]);
      return `M${tenth(from + gap)} ${floor}V${tenth(floor - (each / most) * room)}H${tenth(to - gap)}V${floor}z`;
    }).join("");
  }

  /** The largest value of every group of layers that are drawn as one. */
  #most(values) {
    return values.length ? this.groups.map((group) => Math.max(...group.map((layer) => values[layer]))) : [];
  }

  /** Where a group begins and ends. */
  #ends(group) {
    return [this.x(group[0]), this.x(group[group.length - 1] + 1)];
  }

  /** Names of the model's parts under their layers, where there is room. */
  #stages(stages) {
    this.each(this.texts, "path", "stage-mark", stages, (mark, { from, to }) => {
      mark.setAttribute("d", `M${tenth(this.x(from) + 1)} ${this.floor + 6}H${tenth(this.x(to) - 1)}`);
    });
    this.each(this.texts, "text", "stage", stages, (text, { from, to, name }) => {
      const room = (this.x(to) - this.x(from)) / 6.2;
      const said = name.length <= room ? name : room >= 5 ? `…${name.slice(1 - Math.floor(room))}` : "";
      text.setAttribute("x", tenth((this.x(from) + this.x(to)) / 2));
      text.setAttribute("y", this.floor + 22);
      text.textContent = said;
    });
  }

  /** Shade what stays on the device. */
  draw(depth) {
    const x = tenth(this.x(depth));
    this.kept.setAttribute("d", `M${GUTTER} 0H${x}V${this.floor}H${GUTTER}z`);
    this.mark.setAttribute("d", `M${x} 0V${this.floor}`);
  }
}

/** Runs of layers that share the first parts of their names: as fine as gives at most twenty, else at most eighty. */
function stagesOf(names) {
  const runs = (parts) => {
    const found = [];
    names.forEach((full, layer) => {
      const name = full.split(".").slice(0, parts).join(".");
      const last = found[found.length - 1];
      if (last && last.full === name) last.to = layer + 1;
      else found.push({ full: name, name: name.split(".").pop(), from: layer, to: layer + 1 });
    });
    return found;
  };
  const found = [3, 2, 1].map(runs);
  return found.find((each) => each.length <= 20) ?? found.find((each) => each.length <= 80) ?? [];
}
