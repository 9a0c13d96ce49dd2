/* Sliders with the number they stand at, presets and objectives. Whatever is set is in the situation; these show it. */

const GROUPS = { link: ["up", "down", "rtt"], load: ["queue", "slowdown"], wanted: ["deadline", "energy", "leakage"] };

/** Whether a situation is over this link. */
function isAt(link, situation) {
  const { up, down, rtt } = situation;
  return link.up_bytes_per_s === up && link.down_bytes_per_s === down && link.rtt_s === rtt;
}

class Controls {
  /** ``changed`` is called while something moves, ``rested`` when it was let go. */
  constructor(facts, situation, changed, rested) {
    this.situation = situation;
    this.changed = changed;
    this.rested = rested;
    this.sliders = new Map();
    for (const [group, names] of Object.entries(GROUPS)) {
      for (const name of names) {
        if (situation.names.includes(name)) this.sliders.set(name, this.#slider(byId(group), name));
      }
    }
    this.follows = this.#follows();
    const isPreset = facts.presets.some((link) => isAt(link, situation));
    const given = isPreset ? [] : [{ ...facts.link, name: facts.link.name || "as given" }];
    this.presets = [...given, ...facts.presets].map((link) => this.#preset(link));
    this.objectives = facts.objectives.map((objective) => this.#objective(objective));
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    byId("reset").addEventListener("click", () => this.#set(() => situation.reset()));
  }

  /** Show the situation. */
  show() {
    const { situation } = this;
    for (const [name, { range, number, slider }] of this.sliders) {
      const value = situation.shown(name);
      const position = String(positionOf(slider, value));
      if (range.value !== position) range.value = position;
      range.style.setProperty("--filled", `${(position / STEPS) * 100}%`);
      const text = value === null ? "" : String(value);
      if (document.activeElement !== number && number.value !== text) number.value = text;
      range.setAttribute("aria-valuetext", value === null ? "none" : `${value} ${slider.unit}`.trim());
      number.removeAttribute("aria-invalid");
    }
    this.follows.checked = situation.follows;
    say(this.followed, `follows the uplink, ${short(situation.ratio)}×`);
    for (const { button, link } of this.presets) {
      button.setAttribute("aria-pressed", String(isAt(link, situation)));
    }
    for (const { radio, name } of this.objectives) radio.checked = name === situation.wanted.objective.name;
    byId("reset").disabled = situation.address === "";
  }

  #set(change) {
    change();
    this.changed();
    this.rested();
  }

  #slider(group, name) {
    const slider = SLIDERS[name];
    const row = element(group, "div", "slider");
    const label = element(row, "label", "", slider.label);
    const value = element(row, "span", "value");
    const number = element(value, "input");
    Object.assign(number, { type: "number", inputMode: "decimal", step: "any", id: `${name}-number` });
    number.min = String(slider.least);
    const unit = { "×": ", times", "": "" }[slider.unit] ?? `, ${slider.unit}`;
    number.setAttribute("aria-label", slider.label + unit);
    if (slider.hasNone) number.placeholder = "none";
    element(value, "span", "unit", slider.unit);
    const range = element(row, "input");
    Object.assign(range, { type: "range", min: "0", max: String(STEPS), step: "1", id: name });
    label.htmlFor = name;
    label.title = slider.hint ?? "";
    range.addEventListener("input", () => {
      const shown = valueAt(slider, range.valueAsNumber);
      this.situation.set(name, shown === null ? null : shown * slider.per);
      this.changed();
    });
    range.addEventListener("change", () => this.rested());
    number.addEventListener("input", () => {
      const read = number.validity.badInput ? undefined : this.situation.read(name, number.value);
      if (read === undefined) {
        number.setAttribute("aria-invalid", "true");
        return;
      }
      this.situation.set(name, read);
      this.changed();
    });
    number.addEventListener("blur", () => {
      this.changed();
      this.rested();
    });
    return { range, number, slider };
  }

  #follows() {
    const label = element(byId("down").parentElement, "label", "follows");
    const box = element(label, "input");
    box.type = "checkbox";
    box.id = "follows";
    this.followed = element(label, "span");
    box.addEventListener("change", () => this.#set(() => this.situation.follow(box.checked)));
    return box;
  }

  #preset(link) {
    const button = element(byId("presets"), "button", "chip", link.name);
    button.type = "button";
    button.title = `${mbit(link.up_bytes_per_s)} up, ${mbit(link.down_bytes_per_s)} down, ${ms(link.rtt_s)}`;
    button.addEventListener("click", () => this.#set(() => this.situation.take(link)));
    return { button, link };
  }

  #objective({ name }) {
    const label = element(byId("objectives"), "label", "chip");
    const radio = element(label, "input");
    Object.assign(radio, { type: "radio", name: "by", value: name });
    element(label, "span", "", name);
    radio.addEventListener("change", () => this.#set(() => { this.situation.objective = name; }));
    return { radio, name };
  }
}
