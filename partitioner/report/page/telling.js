/* What the page says in words: verdicts, reasons and where figures come from. Nothing here touches the page. */

const WORTHWHILE = 1.1;
const MOST_TOLD = 6;

/** What a cut is called in a sentence. */
function called(cut) {
  if (cut.isLocal) return "everything on the device";
  return cut.isAllCloud ? "everything in the cloud" : cut.label;
}

/** Whether a row keeps everything that is asked. */
const isKept = (answer, cost) => cost.isAllowed && (answer.within === null || Boolean(answer.within[cost.row]));

/** The advice in one sentence, as cleft-plan cut gives it. */
function verdictOf(plans, situation, answer) {
  const { cut, cost, costs, isRefused, objective, stagesS, energiesJ, row } = answer;
  if (isRefused) return refusalOf(plans, situation, answer);
  if (objective.kind === "throughput") return `Best by throughput: an answer every ${ms(stagesS[row])}`;
  if (objective.kind === "energy") return `Best by energy: ${joules(energiesJ[row])} a frame`;
  if (objective.kind !== "latency") return `Best by ${objective.name}`;
  const ends = [[plans.localCut, "the device alone"], [plans.cloudCut, "the cloud alone"]]
    .map(([end, name]) => ({ end, name, ...costs.get(end) }))
    .filter((end) => isKept(answer, end));
  if (!ends.length) return "Split here: neither side alone keeps what is asked";
  const rival = ends.reduce((least, end) => (end.totalS < least.totalS ? end : least));
  if (rival.end === cut || cost.totalS === 0) return `Do not split: ${rival.name} is best`;
  const gain = rival.totalS / cost.totalS;
  if (gain < WORTHWHILE) return `Do not split: it would gain only ${times(gain)} over ${rival.name}`;
  return `Split here: ${times(gain)} as fast as ${rival.name}`;
}

/** Why no plan is left, with the nearest that there is. */
function refusalOf(plans, { deadline, energy }, { pricesS, energiesJ, at }) {
  const least = (values) => (
    Math.min(...plans.frozen.rows.map((row) => values[row]).filter((each) => !Number.isNaN(each)))
  );
  const told = [];
  if (deadline !== null) told.push(`${ms(deadline)} (the fastest takes ${ms(least(pricesS))})`);
  if (energy !== null) told.push(`${joules(energy)} (the least is ${joules(least(energiesJ))})`);
  return `No plan over ${mbit(at.upBytesPerS)} keeps ${told.join(" with ")}`;
}

const DOUBTS = {
  "*": "One of its compute times is calibrated, not measured.",
  "^": "One of its compute times is predicted, not measured.",
};

/** What else there is to know of the best plan. */
function figuresOf(plans, { row, stagesS }) {
  const { mark, leakage } = plans.candidates[row];
  const deviation = plans.all.deviation[row];
  const rate = stagesS[row] > 0 ? `, ${digits(1 / stagesS[row])} a second` : "";
  const change = deviation === 0 ? "answers as the whole model does"
    : deviation >= Number.MAX_VALUE ? "changes the answer without a bound"
      : `changes the answer by ${digits(deviation * 100)} % of its largest value`;
  return [
    `In a stream: an answer every ${ms(stagesS[row])}${rate}.`,
    `This plan ${change}.`,
    DOUBTS[mark] ?? "",
    leakage ? leakageOf(leakage) : "",
  ].filter(Boolean).join(" ");
}

function leakageOf({ distance_correlation: correlation, inversion_error: error, how, inversion_how: inversionHow }) {
  const about = how === "bounded" ? "about " : "";
  const least = inversionHow === "bounded" ? "at least " : "";
  const inverted = error === null ? "" : `, and an inverter still gets ${least}${digits(error * 100)} % wrong`;
  return `What crosses has a distance correlation of ${about}${correlation.toFixed(2)} with the input${inverted}: `
    + "an indicator, no guarantee.";
}

/** A cut that is looked at, against the best one. */
function comparisonOf(plans, answer, cut, hasRuntimes) {
  const cost = answer.costs.get(cut);
  const candidate = plans.candidates[cost.row];
  const lostS = cost.totalS - answer.cost.totalS;
  const against = cut === answer.cut ? "the best"
    : lostS < 0 ? `${ms(-lostS)} less`
      : `${ms(lostS)} more: ${reason(plans.all, cost.row, answer.row, answer.at, plans.terms)}`;
  const refused = isKept(answer, cost) ? "" : ", refused";
  return `${called(cut)} (${inWords(candidate, hasRuntimes)}): ${marked(candidate, cost.totalS)}, ${against}${refused}`;
}

/** Over which uplinks the best cut is the best; what can be done, where the strip does not show it. */
function spanOf(spans, situation, cut) {
  const place = spans.findIndex(({ from, to }) => from <= situation.up && situation.up < to);
  if (place < 0 || spans[place].cut !== cut) return "Drag along the strip to set the uplink.";
  const { from, to } = spans[place];
  const [isFirst, isLast] = [place === 0, place === spans.length - 1];
  const range = isFirst && isLast ? "at every uplink" : isFirst ? `below ${mbit(to)}`
    : isLast ? `from ${mbit(from)} on` : `from ${mbit(from)} to ${mbit(to)}`;
  const down = situation.follows ? `, the downlink ${short(situation.ratio)} times as fast` : "";
  return `${called(cut)}: best ${range}${down}.`;
}

/** What no plan beats, in a sentence. */
function frontOf(plans, answer, front, facts) {
  const cost = (row) => (facts.has_energy ? markedJ(plans.candidates[row], answer.energiesJ[row])
    : size(plans.all.up_bytes[row]));
  const told = front.slice(0, MOST_TOLD).map((row) => (
    `${called(plans.cutOfRow.get(row))} (${marked(plans.candidates[row], answer.pricesS[row])}, ${cost(row)})`
  ));
  const rest = front.length > MOST_TOLD ? `, and ${front.length - MOST_TOLD} more` : "";
  if (!told.length) return "No plan keeps the limits.";
  return `No plan is better in both than ${told.join(", ")}${rest}.`;
}

/** A machine and its runtime in a few words. */
function machine({ cpu, device, accelerator, runtime, threads, slowdown, whole_how: how }) {
  const name = `${cpu || device}${accelerator ? ` with ${accelerator}` : ""}`;
  const slowed = slowdown === 1 ? "" : `, ${short(slowdown)}× slower`;
  const predicted = how === "predicted" ? ", predicted" : "";
  return `${name} (${runtime}, ${threads} thread${threads === 1 ? "" : "s"}${slowed}${predicted})`;
}

/** Everything that makes the figures doubtful, and what marks stand for. */
function notesOf({ limits, notes, candidates }) {
  const has = (is) => candidates.some(is);
  const marks = [
    [({ mark }) => mark === "*", "* a compute time is calibrated from its neighbours, not measured"],
    [({ mark }) => mark === "^", "^ a compute time is predicted from other models, not measured"],
    [({ leakage }) => leakage?.how === "bounded", "~ a leakage is taken from the cuts around it that were tried"],
    [(each) => each.energy_origin === "modelled", "~ the energy is modelled from measured parts"],
    [(each) => each.energy_origin === "assumed", "? the energy is assumed: from a data sheet, or a published radio"],
  ];
  return [
    ...limits.map((limit) => `every plan keeps ${limit}`),
    ...notes,
    ...marks.filter(([is]) => has(is)).map(([, text]) => text),
  ];
}
