/* Quantities as people read them: three significant digits with a unit, as partitioner/units.py writes them. */

/** Three significant digits, or all digits before the point where there are more. */
function digits(value) {
  if (value === 0) return "0";
  const magnitude = Math.abs(value);
  const places = magnitude < 0.9995 ? 3 : magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0;
  return value.toFixed(places);
}

/** A time in milliseconds, without its unit. */
const inMs = (seconds) => digits(seconds * 1e3);

/** A time in milliseconds. */
const ms = (seconds) => `${inMs(seconds)} ms`;

/** An energy; a dash where nobody knows it. */
function joules(value) {
  if (Number.isNaN(value)) return "–";
  const units = [["J", 1], ["mJ", 1e-3], ["µJ", 1e-6], ["nJ", 1e-9]];
  const [unit, scale] = units.find((each) => Math.abs(value) >= 0.9995 * each[1]) ?? units[value ? 3 : 0];
  return `${digits(value / scale)} ${unit}`;
}

/** A size in decimal units. */
function size(bytes) {
  if (Math.abs(bytes) < 999.5) return `${bytes.toFixed(0)} B`;
  for (const [unit, scale] of [["kB", 1e3], ["MB", 1e6]]) {
    if (Math.abs(bytes) < 999.5 * scale) return `${digits(bytes / scale)} ${unit}`;
  }
  return `${digits(bytes / 1e9)} GB`;
}

/** A rate in Mbit/s. */
const mbit = (bytesPerS) => `${digits(bytesPerS * 8e-6)} Mbit/s`;

/** How many times as much. */
const times = (ratio) => `${ratio.toFixed(ratio < 2 ? 2 : ratio < 100 ? 1 : 0)}×`;

/** A tick of an axis: no more digits than it takes. */
const short = (value) => String(Number(value.toPrecision(3)));
