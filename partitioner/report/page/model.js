/* The choice of a cut, as the planner makes it: the same doubles in the same order of operations, ties and all.

   A situation is {upBytesPerS, downBytesPerS, rttS, queueS, slowdown}: a link and a worker's load. Mirrors
   partitioner/cost/table.py, optimize/objectives.py and Planner.at; tests/browser compares them. */

/** Columns of numbers over some of the candidates, NaN where nobody knows; ``rows`` are their places among all. */
class Table {
  constructor({ columns, radio }, rows) {
    this.radio = radio;
    this.rows = rows;
    this.length = rows.length;
    for (const [name, values] of Object.entries(columns)) {
      this[name] = Float64Array.from(rows, (row) => values[row] ?? NaN);
    }
  }
}

/** Latency of every row, in seconds. */
function latencies(table, at, out = new Float64Array(table.length)) {
  const { compute_s, tail_s, remote, up_bytes, down_bytes } = table;
  const { upBytesPerS, downBytesPerS, slowdown } = at;
  const waitS = at.rttS + at.queueS;
  for (let row = 0; row < out.length; row += 1) {
    let totalS = compute_s[row] + tail_s[row] * slowdown;
    totalS += remote[row] * waitS;
    totalS += up_bytes[row] / upBytesPerS;
    totalS += down_bytes[row] / downBytesPerS;
    out[row] = totalS;
  }
  return out;
}

/** Time between two answers of a stream of frames, in seconds: that of the slowest stage. */
function slowestStages(table, at, out = new Float64Array(table.length)) {
  for (let row = 0; row < out.length; row += 1) {
    out[row] = Math.max(
      table.edge_s[row],
      table.cloud_s[row] + table.tail_s[row] * at.slowdown,
      table.up_bytes[row] / at.upBytesPerS,
      table.down_bytes[row] / at.downBytesPerS,
    );
  }
  return out;
}

/** What a frame takes from the device by every row, in joules; NaN where nobody knows. */
function energies(table, at, out = new Float64Array(table.length)) {
  const { head_j, codec_j, idle_w, cloud_s, tail_s, remote, up_bytes, down_bytes, radio } = table;
  const waitS = at.rttS + at.queueS;
  const [upW, downW] = [radioPower(radio, "up", at.upBytesPerS), radioPower(radio, "down", at.downBytesPerS)];
  for (let row = 0; row < out.length; row += 1) {
    const upS = up_bytes[row] / at.upBytesPerS;
    const downS = down_bytes[row] / at.downBytesPerS;
    const waitingS = cloud_s[row] + tail_s[row] * at.slowdown + remote[row] * waitS;
    let totalJ = head_j[row] + codec_j[row] + idle_w[row] * (waitingS + upS + downS);
    totalJ += upS * upW;
    totalJ += downS * downW;
    if (radio.frame_interval_s !== null) totalJ += remote[row] * awake(radio, upS + downS, waitingS);
    out[row] = totalJ;
  }
  return out;
}

/** Watts of a radio while it moves bytes one way, beyond the rates it was fitted at as at the fastest of them. */
function radioPower(radio, way, bytesPerS) {
  const rate = bytesPerS / BYTES_PER_MBIT;
  return radio.base_w + radio[`${way}_w_per_mbit`] * Math.min(rate, radio[`max_${way}_mbit`] ?? rate);
}

/** Joules of the pauses of a frame: while it waits for its answer, and from there to the next frame. */
function awake(radio, movingS, waitingS) {
  const pause = (seconds) => Math.min(seconds, radio.tail_s) * radio.tail_w
    + (seconds > radio.tail_s ? 1 : 0) * radio.promotion_j;
  const pauseS = Math.max(radio.frame_interval_s - movingS, 0);
  const insideS = Math.min(waitingS, pauseS);
  return pause(insideS) + pause(pauseS - insideS);
}

/** What a row scores by energy that nobody knows: it is never best. */
const UNKNOWN_J = 1e100;

const scoreOfEnergy = (each) => (Number.isNaN(each) ? UNKNOWN_J : Math.min(each, Number.MAX_VALUE));

/** What each row scores by an objective, less is better; rows are compared with those in ``among`` (null: all). */
function scoresOf(objective, table, at, pricesS, among = null) {
  switch (objective.kind) {
    case "latency": return pricesS;
    case "throughput": return slowestStages(table, at);
    case "energy": return energies(table, at).map(scoreOfEnergy);
    case "upload": return table.up_bytes;
    case "deviation": return table.deviation;
    case "weighted": return weightedScores(objective, table, at, pricesS, among);
    case "lexicographic": return ranks(objective, table, at, pricesS, among);
    default: throw new Error(`no objective ${objective.kind}`);
  }
}

function weightedScores(objective, table, at, pricesS, among) {
  const totals = new Float64Array(table.length);
  for (const [part, weight] of objective.parts) {
    const scores = scoresOf(part, table, at, pricesS, among);
    for (let row = 0; row < totals.length; row += 1) totals[row] += weight * scores[row];
  }
  return totals.map((total) => Math.min(total, Number.MAX_VALUE));
}

/** Ranks from 0: whoever drops out later is better, of those together the closest, then the fastest. */
function ranks(objective, table, at, pricesS, among) {
  const kept = among === null ? new Uint8Array(table.length).fill(1) : Uint8Array.from(among);
  const survived = Float64Array.from(kept);
  const last = new Float64Array(table.length);
  objective.order.forEach((part, index) => {
    const scores = scoresOf(part, table, at, pricesS, kept);
    let best = Infinity;
    for (let row = 0; row < kept.length; row += 1) {
      if (!kept[row]) continue;
      last[row] = scores[row];
      best = Math.min(best, scores[row]);
    }
    if (index === objective.order.length - 1) return;
    const most = best * (1 + objective.tolerance);
    for (let row = 0; row < kept.length; row += 1) {
      kept[row] = kept[row] && scores[row] <= most ? 1 : 0;
      survived[row] += kept[row];
    }
  });
  const order = Array.from(kept.keys()).sort(
    (a, b) => survived[b] - survived[a] || last[a] - last[b] || pricesS[a] - pricesS[b] || a - b,
  );
  const found = new Float64Array(table.length);
  order.forEach((row, rank) => { found[row] = rank; });
  return found;
}

/** Whether a row is as good as another in every term. */
const beats = (terms, row, other) => terms.every((term) => term[row] <= term[other]);

/** Rows that no other beats in every term that a link, a load or an objective weighs, and both extremes: places in the
    table, ascending. Mirrors planner._unbeaten; where a radio that is kept busy need not wake up, nothing beats. */
function unbeaten(table, candidates) {
  const places = table.rows.map((_, place) => place);
  const knowsEnergy = table.head_j.some((each) => !Number.isNaN(each));
  if (knowsEnergy && table.radio.frame_interval_s !== null) return places;
  const { edge_s, cloud_s, tail_s, remote, up_bytes, down_bytes, deviation } = table;
  const rest_s = table.compute_s.map((each, row) => each - edge_s[row] - cloud_s[row]);
  const terms = [edge_s, cloud_s, tail_s, rest_s, remote, up_bytes, down_bytes];
  const known = (value) => (Number.isNaN(value) ? Infinity : value);
  if (knowsEnergy) {
    terms.push(table.head_j.map((each, row) => known(each + table.codec_j[row])), table.idle_w.map(known));
  }
  terms.push(deviation);
  const order = places.slice().sort((a, b) => {
    const term = terms.find((each) => each[a] !== each[b]);
    return term ? term[a] - term[b] : a - b;
  });
  const kept = [];
  for (const place of order) {
    if (!kept.some((other) => beats(terms, other, place))) kept.push(place);
  }
  const is = (name) => places.filter((place) => candidates[table.rows[place]][name]);
  const found = new Set([...kept, ...is("is_local"), ...is("is_all_cloud").slice(0, 1)]);
  return [...found].sort((a, b) => a - b);
}

/** Which rows keep the limits that depend on the link; null where there are none. */
function withinLimits(table, at, { deadlineS, energyJ }, pricesS) {
  if (deadlineS === null && energyJ === null) return null;
  const found = new Uint8Array(table.length).fill(1);
  if (deadlineS !== null) pricesS.forEach((each, row) => { found[row] &= each <= deadlineS; });
  if (energyJ !== null) energies(table, at).forEach((each, row) => { found[row] &= each <= energyJ; });
  return found;
}

/** The best row of a table, of equally good ones the fastest, then the first; -1 where none keeps the limits.

    ``wanted`` is {objective, deadlineS, energyJ}, null for no limit. */
function best(table, at, wanted, pricesS = latencies(table, at)) {
  const among = withinLimits(table, at, wanted, pricesS);
  const scores = scoresOf(wanted.objective, table, at, pricesS, among);
  let found = -1;
  for (let row = 0; row < scores.length; row += 1) {
    if (among !== null && !among[row]) continue;
    const isBetter = found < 0 || scores[row] < scores[found]
      || (scores[row] === scores[found] && pricesS[row] < pricesS[found]);
    if (isBetter) found = row;
  }
  return found;
}

/** Where the time of one row goes: a number for each of ``terms``. */
function breakdown(table, row, at, terms) {
  return terms.map((term) => {
    switch (term) {
      case "up_s": return table.up_bytes[row] / at.upBytesPerS;
      case "down_s": return table.down_bytes[row] / at.downBytesPerS;
      case "rtt_s": return table.remote[row] * at.rttS;
      case "queue_s": return table.remote[row] * at.queueS;
      case "tail_s": return table.tail_s[row] * at.slowdown;
      default: return table[term][row];
    }
  });
}

const REASONS = {
  head_s: "computes {ms} longer on the device",
  encode_s: "packs {ms} longer",
  up_s: "sends {size} more",
  rtt_s: "waits {ms} for a round trip",
  queue_s: "waits {ms} for the worker",
  decode_s: "unpacks {ms} longer in the cloud",
  tail_s: "computes {ms} longer in the cloud",
  encode_reply_s: "packs its reply {ms} longer",
  down_s: "brings {size} more back",
  decode_reply_s: "unpacks its reply {ms} longer",
};

/** Why a row loses to another: the term that costs most more. */
function reason(table, row, winner, at, terms) {
  const [mine, theirs] = [breakdown(table, row, at, terms), breakdown(table, winner, at, terms)];
  const excess = mine.map((value, place) => value - theirs[place]);
  const place = excess.indexOf(Math.max(...excess));
  const term = terms[place];
  const moved = term === "up_s" ? table.up_bytes[row] - table.up_bytes[winner]
    : table.down_bytes[row] - table.down_bytes[winner];
  if (!(excess[place] > 0)) return "equally good";
  return REASONS[term].replace("{ms}", ms(excess[place])).replace("{size}", size(moved));
}

/** Spans of a growing axis on which ``choose`` answers the same: [{chosen, from, to}], their limits by bisection. */
function spansOf(values, choose) {
  const spans = [];
  for (const value of values) {
    const chosen = choose(value);
    const last = spans[spans.length - 1];
    if (last && last.chosen === chosen) {
      last.to = value;
      continue;
    }
    if (last) last.to = switchBetween(last.to, value, last.chosen, choose);
    spans.push({ chosen, from: last ? last.to : value, to: value });
  }
  return spans;
}

function switchBetween(low, high, chosen, choose) {
  let [below, above] = [low, high];
  for (let step = 0; step < 24; step += 1) {
    const middle = Math.sqrt(below * above);
    if (choose(middle) === chosen) below = middle;
    else above = middle;
  }
  return above;
}
