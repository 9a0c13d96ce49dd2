/* All plans of the page's model: what is best in a situation, what every cut would cost, and what is best where. */

/** The cuts in their order, each with the rows of its codecs and runtimes. */
function cutsOf(candidates) {
  const found = new Map();
  candidates.forEach((candidate, row) => {
    const cut = found.get(candidate.cut_id);
    if (cut) {
      cut.rows.push(row);
      return;
    }
    found.set(candidate.cut_id, {
      id: candidate.cut_id,
      name: candidate.cut,
      label: candidate.label,
      short: candidate.label.replace(/^after:/, ""),
      depth: candidate.depth,
      isLocal: candidate.is_local,
      isAllCloud: candidate.is_all_cloud,
      isBranch: candidate.is_branch,
      rows: [row],
    });
  });
  return [...found.values()];
}

class Plans {
  constructor(facts) {
    const rows = facts.candidates.map((_, row) => row);
    const where = (is) => rows.filter((row) => facts.candidates[row][is]);
    this.facts = facts;
    this.terms = facts.terms;
    this.candidates = facts.candidates;
    this.all = new Table(facts, rows);
    this.frozen = new Table(facts, facts.frozen);
    this.bound = facts.max_leakage;
    this.local = new Table(facts, where("is_local"));
    this.cloud = new Table(facts, where("is_all_cloud"));
    this.cuts = cutsOf(facts.candidates);
    this.localCut = this.cuts.find((cut) => cut.isLocal);
    this.cloudCut = this.cuts.find((cut) => cut.isAllCloud);
    this.cutOfRow = new Map(this.cuts.flatMap((cut) => cut.rows.map((row) => [row, cut])));
  }

  /** Whether what crosses gives away at most so much; what nobody measured may give away anything. */
  isTight(row, leakage) {
    const { is_local: isLocal, leakage: known } = this.candidates[row];
    return leakage === null || isLocal || (known !== null && known.distance_correlation <= leakage);
  }

  /** Freeze the candidates anew within another bound on what crosses. */
  bind(leakage) {
    if (leakage === this.bound) return;
    this.bound = leakage;
    const isKept = (row) => this.candidates[row].is_allowed && this.isTight(row, leakage);
    const kept = new Table(this.facts, this.all.rows.filter(isKept));
    this.frozen = new Table(this.facts, unbeaten(kept, this.candidates).map((place) => kept.rows[place]));
  }

  /** The best row in a situation; where none keeps the limits, the one that is best without, and ``isRefused``. */
  choose(at, wanted) {
    this.bind(wanted.leakage);
    const row = best(this.frozen, at, wanted);
    const isRefused = row < 0;
    const free = { ...wanted, deadlineS: null, energyJ: null };
    const found = this.frozen.rows[isRefused ? best(this.frozen, at, free) : row];
    return { row: found, cut: this.cutOfRow.get(found), isRefused };
  }

  /** Everything about a situation that is drawn or told. */
  answer(at, wanted) {
    const { objective, leakage } = wanted;
    const chosen = this.choose(at, wanted);
    const pricesS = latencies(this.all, at);
    const stagesS = slowestStages(this.all, at);
    const scores = objective.kind === "lexicographic" ? pricesS : scoresOf(objective, this.all, at, pricesS);
    const costs = new Map(this.cuts.map((cut) => {
      const row = cut === chosen.cut ? chosen.row : this.#bestOf(cut, scores, pricesS);
      return [cut, this.#cost(row, at, pricesS[row], leakage)];
    }));
    const energiesJ = energies(this.all, at);
    const within = withinLimits(this.all, at, wanted, pricesS);
    const cost = costs.get(chosen.cut);
    return { ...chosen, at, objective, pricesS, stagesS, energiesJ, within, scores, costs, cost };
  }

  #bestOf(cut, scores, pricesS) {
    let found = cut.rows[0];
    for (const row of cut.rows) {
      const isAllowed = this.candidates[row].is_allowed - this.candidates[found].is_allowed;
      const difference = scores[row] - scores[found] || pricesS[row] - pricesS[found];
      if (isAllowed > 0 || (isAllowed === 0 && difference < 0)) found = row;
    }
    return found;
  }

  /** What a row costs, split by ``KINDS``. */
  #cost(row, at, totalS, leakage) {
    const seconds = breakdown(this.all, row, at, this.terms);
    const parts = KINDS.map(({ terms }) => terms.reduce((sum, term) => sum + seconds[this.terms.indexOf(term)], 0));
    const isAllowed = this.candidates[row].is_allowed && this.isTight(row, leakage);
    return { row, totalS, parts, isAllowed };
  }

  /** Cuts that keep all limits but for the chosen one, best first. */
  others(answer) {
    const rank = (cut) => answer.costs.get(cut).row;
    return this.cuts
      .filter((cut) => cut !== answer.cut && answer.costs.get(cut).isAllowed)
      .filter((cut) => answer.within === null || answer.within[rank(cut)])
      .sort((a, b) => answer.scores[rank(a)] - answer.scores[rank(b)]
        || answer.pricesS[rank(a)] - answer.pricesS[rank(b)]);
  }

  /** The rows that no other allowed one beats by latency and by energy (bytes sent, where nobody knows energies). */
  front({ pricesS, energiesJ, within }, leakage) {
    const costs = this.facts.has_energy ? energiesJ : this.all.up_bytes;
    const isKept = (row) => this.candidates[row].is_allowed && this.isTight(row, leakage)
      && (within === null || within[row]) && !Number.isNaN(costs[row]);
    const kept = this.all.rows.filter(isKept).sort((a, b) => pricesS[a] - pricesS[b] || costs[a] - costs[b]);
    let least = Infinity;
    return kept.filter((row) => {
      const isUnbeaten = costs[row] < least;
      least = Math.min(least, costs[row]);
      return isUnbeaten;
    });
  }

  /** What is best at every uplink: spans of cuts, and latencies of the cloud, the device and the best at ``values``. */
  rates(values, atUplink, wanted) {
    this.bind(wanted.leakage);
    const least = (table, at) => latencies(table, at).reduce((low, each) => Math.min(low, each), Infinity);
    const asked = new Map();
    const choose = (uplink) => {
      if (!asked.has(uplink)) {
        const row = best(this.frozen, atUplink(uplink), wanted);
        asked.set(uplink, row < 0 ? null : this.frozen.rows[row]);
      }
      return asked.get(uplink);
    };
    const cutAt = (uplink) => this.cutOfRow.get(choose(uplink)) ?? null;
    const spans = spansOf(values, cutAt).map(({ chosen, from, to }) => ({ cut: chosen, from, to }));
    const lines = [[], [], []];
    for (const uplink of values) {
      const at = atUplink(uplink);
      const row = choose(uplink);
      lines[0].push(least(this.cloud, at));
      lines[1].push(least(this.local, at));
      lines[2].push(row === null ? Infinity : this.#latency(row, at));
    }
    return { spans, values, lines };
  }

  #latency(row, at) {
    const { compute_s, tail_s, remote, up_bytes, down_bytes } = this.all;
    return compute_s[row] + tail_s[row] * at.slowdown + remote[row] * (at.rttS + at.queueS)
      + up_bytes[row] / at.upBytesPerS + down_bytes[row] / at.downBytesPerS;
  }
}
