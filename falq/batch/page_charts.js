"use strict";

// Draws the charts of a run: jobs by state, time per endpoint, spend.
//
// Owns the arithmetic from items to curves and the SVG they become. It never
// filters: a chart shows the whole run, whatever the gallery shows. Colors are
// classes, so light and dark are the style's business.

const SAMPLES = 200;
const CHART_HEIGHT = 270;
const CHART_EDGE = { top: 14, right: 14, bottom: 44, left: 68 };
const CARD_WIDTH = 320;
const CARD_HEIGHT = 150;
const CARD_EDGE = { top: 22, right: 12, bottom: 36, left: 34 };
const HISTOGRAM_BINS = 24;
// As many hues as can be told apart without seeing color well.
const MOST_SERIES = 7;
const MOST_HISTOGRAMS = 24;
const SETTLED_STATES = ["succeeded", "failed", "cancelled", "timed_out", "unknown"];
const ROUND_SECONDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];

function drawCharts(container, items) {
  const charts = [stateChart(items), spendChart(items)].filter((chart) => chart !== null);
  const histograms = latencyCharts(items);
  container.replaceChildren();
  // All in the document first: an area chart is drawn for the width its card
  // gets, and a card gets less when another comes beside it. One alone keeps its row
  // when the histograms come below.
  const cards = charts.map((chart) => chartCard(chart.heading, chart.note));
  if (cards.length === 1) cards[0].classList.add("is-alone");
  container.append(...cards);
  cards.forEach((card, number) => card.append(...areaChart(charts[number], card.querySelector(".note").clientWidth)));
  if (histograms.length) {
    const card = chartCard("Time per endpoint", "From submit to settled, succeeded jobs. The scale is logarithmic and the same in every panel; dashed lines are the median (p50) and p95.");
    card.append(element("div", { class: "multiples" }, ...histograms));
    container.append(card);
  }
  if (!container.children.length) {
    container.append(element("p", { class: "empty" }, "No timings were recorded, so there is nothing to draw."));
  }
}

function chartCard(heading, note) {
  return element("section", { class: "card chart" }, element("h3", {}, heading), element("p", { class: "note" }, note));
}

function lastMoment(items) {
  return items.reduce((latest, item) => Math.max(latest, item.started_s ?? 0, item.running_s ?? 0, item.ended_s ?? 0), 0);
}

function sampleTimes(items) {
  const end = lastMoment(items) || 1;
  return Array.from({ length: SAMPLES + 1 }, (_, number) => (end * number) / SAMPLES);
}

// Running sums of steps: each step counts from the first sample at or after its moment.
function accumulate(times, steps) {
  const values = new Array(times.length).fill(0);
  const width = times[1];
  for (const [moment, amount] of steps) {
    values[Math.min(times.length - 1, Math.max(0, Math.ceil(moment / width - 1e-9)))] += amount;
  }
  for (let number = 1; number < values.length; number += 1) values[number] += values[number - 1];
  return values;
}

function stateChart(items) {
  const timed = items.filter((item) => item.started_s !== null);
  if (!timed.length) return null;
  const times = sampleTimes(timed);
  const steps = { queued: [], running: [] };
  SETTLED_STATES.forEach((state) => (steps[state] = []));
  for (const item of timed) {
    steps.queued.push([item.started_s, 1]);
    const left = item.running_s ?? item.ended_s;
    if (left !== null) steps.queued.push([left, -1]);
    if (item.running_s !== null) {
      steps.running.push([item.running_s, 1]);
      if (item.ended_s !== null) steps.running.push([item.ended_s, -1]);
    }
    if (item.ended_s !== null) steps[item.status].push([item.ended_s, 1]);
  }
  const names = { queued: "Queued", running: "Running" };
  const series = [...SETTLED_STATES, "running", "queued"]
    .filter((state) => steps[state].length)
    .map((state) => ({
      name: names[state] ?? STATUSES[state].label,
      className: `state-${state}`,
      values: accumulate(times, steps[state]),
    }));
  const end = formatSeconds(times[times.length - 1]);
  return {
    heading: "Jobs over time",
    note: "Every job that was submitted, by the state it was in.",
    description: `${formatCount(timed.length)} jobs in ${end}. At the end: ${series.map(({ name, values }) => `${name} ${values[SAMPLES]}`).join(", ")}.`,
    axis: "Jobs",
    format: (value) => formatCount(Math.round(value)),
    formatTick: (value) => formatCount(Number(value.toFixed(1))),
    times,
    series,
  };
}

function byEndpoint(items) {
  const groups = new Map();
  for (const item of items) {
    if (!groups.has(item.endpoint)) groups.set(item.endpoint, []);
    groups.get(item.endpoint).push(item);
  }
  return [...groups].sort(([, one], [, other]) => other.length - one.length);
}

function spendChart(items) {
  const paid = items.filter((item) => item.cost_usd !== null && item.ended_s !== null);
  if (!paid.some((item) => item.cost_usd > 0)) return null;
  const times = sampleTimes(items);
  const spent = (group) => group.reduce((sum, item) => sum + item.cost_usd, 0);
  const groups = byEndpoint(paid).sort(([, one], [, other]) => spent(other) - spent(one));
  const shown = groups.slice(0, MOST_SERIES);
  const rest = groups.slice(MOST_SERIES).flatMap(([, group]) => group);
  if (rest.length) shown.push([`${groups.length - MOST_SERIES} more endpoints`, rest]);
  const series = shown.map(([name, group], number) => ({
    name,
    className: `series-${number}`,
    values: accumulate(times, group.map((item) => [item.ended_s, item.cost_usd])),
  }));
  return {
    heading: "Spend over time",
    note: "Known prices, added up as jobs settle, per endpoint.",
    description: `${formatDollars(spent(paid))} in all. ${series.map(({ name, values }) => `${name} ${formatDollars(values[SAMPLES])}`).join(", ")}.`,
    axis: "US dollars",
    format: formatDollars,
    formatTick: (value, step) => (step < 1 ? formatDollars(value) : `$${formatCount(value)}`),
    times,
    series,
  };
}

function roundStep(span, most) {
  const raw = span / most || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= raw * (1 - 1e-9));
}

function timeTicks(end, most) {
  const step = ROUND_SECONDS.find((seconds) => end / seconds <= most) ?? roundStep(end, most);
  const ticks = [];
  for (let tick = 0; tick <= end * 1.0001; tick += step) ticks.push(tick);
  return ticks;
}

function tickTime(value, end) {
  const [unit, word] = end < 180 ? [1, "s"] : end < 7200 ? [60, "min"] : [3600, "h"];
  return `${Number((value / unit).toFixed(1))} ${word}`;
}

function areaChart({ heading, description, axis, format, formatTick, times, series }, fullWidth) {
  const width = Math.max(260, fullWidth);
  const inner = { width: width - CHART_EDGE.left - CHART_EDGE.right, height: CHART_HEIGHT - CHART_EDGE.top - CHART_EDGE.bottom };
  const end = times[times.length - 1];
  const totals = times.map((_, number) => series.reduce((sum, { values }) => sum + values[number], 0));
  const highest = Math.max(...totals) || 1;
  const step = roundStep(highest, 4);
  const top = Math.ceil(highest / step - 1e-9) * step;
  const x = (time) => CHART_EDGE.left + (inner.width * time) / end;
  const y = (value) => CHART_EDGE.top + inner.height * (1 - value / top);

  const names = { title: uniqueId("title"), description: uniqueId("description") };
  const chart = drawing(
    "svg",
    { class: "plot", viewBox: `0 0 ${width} ${CHART_HEIGHT}`, width, height: CHART_HEIGHT, role: "img", tabindex: 0, "aria-labelledby": `${names.title} ${names.description}` },
    drawing("title", { id: names.title }, heading),
    drawing("desc", { id: names.description }, `${description} Left and right arrow keys read the chart.`),
  );
  for (let value = 0; value <= top * 1.0001; value += step) {
    chart.append(
      drawing("line", { class: "grid", x1: CHART_EDGE.left, x2: width - CHART_EDGE.right, y1: y(value), y2: y(value) }),
      drawing("text", { class: "tick", x: CHART_EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, formatTick(value, step)),
    );
  }
  for (const tick of timeTicks(end, Math.max(3, Math.floor(inner.width / 90)))) {
    chart.append(drawing("text", { class: "tick", x: x(tick), y: CHART_HEIGHT - 24, "text-anchor": tick === 0 ? "start" : "middle" }, tickTime(tick, end)));
  }
  chart.append(
    drawing("text", { class: "axis", x: CHART_EDGE.left + inner.width / 2, y: CHART_HEIGHT - 5, "text-anchor": "middle" }, "Time since the start of the run"),
    drawing("text", { class: "axis", transform: `translate(12 ${CHART_EDGE.top + inner.height / 2}) rotate(-90)`, "text-anchor": "middle" }, axis),
  );
  const floor = times.map(() => 0);
  for (const { className, values } of series) {
    const lower = times.map((time, number) => `${x(time).toFixed(1)},${y(floor[number]).toFixed(1)}`).reverse();
    values.forEach((value, number) => (floor[number] += value));
    const upper = times.map((time, number) => `${x(time).toFixed(1)},${y(floor[number]).toFixed(1)}`);
    chart.append(drawing("path", { class: `area ${className}`, d: `M${upper.join("L")}L${lower.join("L")}Z` }));
  }
  const cursor = drawing("line", { class: "cursor", y1: CHART_EDGE.top, y2: CHART_EDGE.top + inner.height });
  chart.append(cursor);
  const { legend, read } = areaLegend({ times, series, format, cursor, x });
  followCursor(chart, { times, width, inner, read });
  return [chart, legend];
}

function areaLegend({ times, series, format, cursor, x }) {
  const moment = element("span", { class: "moment", "aria-live": "polite" });
  const values = series.map(() => element("b", {}));
  // Drawn from the bottom up, read from the top down.
  const entries = series.map(({ name, className }, number) =>
    element("li", {}, element("i", { class: `swatch ${className}` }), element("span", {}, name), values[number]),
  );
  const legend = element("div", { class: "legend" }, moment, element("ul", {}, ...entries.reverse()));
  const read = (number) => {
    const isWhole = number === null;
    const shown = isWhole ? times.length - 1 : number;
    cursor.classList.toggle("is-shown", !isWhole);
    cursor.setAttribute("x1", x(times[shown]));
    cursor.setAttribute("x2", x(times[shown]));
    moment.textContent = isWhole ? "At the end" : `At ${formatSeconds(times[shown])}`;
    series.forEach((one, index) => (values[index].textContent = format(one.values[shown])));
  };
  read(null);
  return { legend, read };
}

function followCursor(chart, { times, width, inner, read }) {
  let current = times.length - 1;
  const go = (number) => {
    current = Math.min(times.length - 1, Math.max(0, number));
    read(current);
  };
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const across = ((event.clientX - box.left) * width) / box.width - CHART_EDGE.left;
    go(Math.round((across / inner.width) * (times.length - 1)));
  });
  chart.addEventListener("pointerleave", () => read(null));
  chart.addEventListener("blur", () => read(null));
  chart.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -4, ArrowRight: 4, Home: -times.length, End: times.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    go(current + steps[event.key]);
  });
}

let lastId = 0;
function uniqueId(name) {
  lastId += 1;
  return `${name}-${lastId}`;
}

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

// 1, 2 and 5 of each power of ten, from the last not above `low` to the first not below `high`.
function logTicks(low, high) {
  const ladder = [];
  for (let power = -3; power <= 6; power += 1) ladder.push(...[1, 2, 5].map((factor) => factor * 10 ** power));
  const first = Math.max(0, ladder.findLastIndex((tick) => tick <= low));
  const last = ladder.findIndex((tick) => tick >= high);
  return ladder.slice(first, Math.max(first + 1, last < 0 ? ladder.length - 1 : last) + 1);
}

function latencyCharts(items) {
  const groups = byEndpoint(items.filter((item) => item.status === "succeeded" && durationOf(item) !== null))
    .slice(0, MOST_HISTOGRAMS)
    // A thousandth of a second is the least a logarithm is asked for.
    .map(([endpoint, group]) => [endpoint, group.map((item) => Math.max(0.001, durationOf(item))).sort((one, other) => one - other)]);
  if (!groups.length) return [];
  const ticks = logTicks(Math.min(...groups.map(([, times]) => times[0])), Math.max(...groups.map(([, times]) => times[times.length - 1])));
  return groups.map(([endpoint, times]) => histogram(endpoint, times, ticks));
}

function histogram(endpoint, durations, ticks) {
  const inner = { width: CARD_WIDTH - CARD_EDGE.left - CARD_EDGE.right, height: CARD_HEIGHT - CARD_EDGE.top - CARD_EDGE.bottom };
  const [low, high] = [Math.log(ticks[0]), Math.log(ticks[ticks.length - 1])];
  const share = (value) => (Math.log(value) - low) / (high - low);
  const counts = new Array(HISTOGRAM_BINS).fill(0);
  durations.forEach((value) => (counts[Math.min(HISTOGRAM_BINS - 1, Math.floor(share(value) * HISTOGRAM_BINS))] += 1));
  const most = Math.max(...counts);
  const x = (value) => CARD_EDGE.left + inner.width * share(value);
  const floor = CARD_EDGE.top + inner.height;
  const middle = quantile(durations, 0.5);
  const slow = quantile(durations, 0.95);
  const names = { title: uniqueId("title"), description: uniqueId("description") };
  const chart = drawing(
    "svg",
    { class: "plot", viewBox: `0 0 ${CARD_WIDTH} ${CARD_HEIGHT}`, role: "img", "aria-labelledby": `${names.title} ${names.description}` },
    drawing("title", { id: names.title }, `Time of ${endpoint}`),
    drawing("desc", { id: names.description }, `${formatCount(durations.length)} jobs, median ${formatSeconds(middle)}, 95th percentile ${formatSeconds(slow)}, longest ${formatSeconds(durations[durations.length - 1])}.`),
    drawing("line", { class: "grid", x1: CARD_EDGE.left, x2: CARD_WIDTH - CARD_EDGE.right, y1: CARD_EDGE.top, y2: CARD_EDGE.top }),
    drawing("text", { class: "tick", x: CARD_EDGE.left - 6, y: CARD_EDGE.top + 4, "text-anchor": "end" }, formatCount(most)),
    drawing("text", { class: "tick", x: CARD_EDGE.left - 6, y: floor, "text-anchor": "end" }, "0"),
  );
  const barWidth = inner.width / HISTOGRAM_BINS;
  counts.forEach((count, number) => {
    if (!count) return;
    const height = Math.max(1.5, (inner.height * count) / most);
    chart.append(drawing("rect", { class: "column", x: CARD_EDGE.left + number * barWidth + 0.75, y: floor - height, width: barWidth - 1.5, height, rx: 1.5 }));
  });
  chart.append(drawing("line", { class: "base", x1: CARD_EDGE.left, x2: CARD_WIDTH - CARD_EDGE.right, y1: floor, y2: floor }));
  const every = Math.ceil(ticks.length / 6);
  ticks.forEach((tick, number) => {
    if (number % every) return;
    chart.append(drawing("text", { class: "tick", x: x(tick), y: floor + 14, "text-anchor": "middle" }, tick < 1 ? `${Number(tick.toPrecision(1))}` : String(tick)));
  });
  chart.append(
    drawing("text", { class: "axis", x: CARD_EDGE.left + inner.width / 2, y: CARD_HEIGHT - 5, "text-anchor": "middle" }, "seconds"),
    drawing("text", { class: "axis", transform: `translate(9 ${CARD_EDGE.top + inner.height / 2}) rotate(-90)`, "text-anchor": "middle" }, "jobs"),
    ...[middle, slow].map((value) => drawing("line", { class: "mark", x1: x(value), x2: x(value), y1: CARD_EDGE.top - 6, y2: floor })),
    drawing("text", { class: "mark-name", x: x(middle) - 3, y: CARD_EDGE.top - 9, "text-anchor": x(middle) < 60 ? "start" : "end" }, "p50"),
    drawing("text", { class: "mark-name", x: x(slow) + 3, y: CARD_EDGE.top - 9, "text-anchor": x(slow) > CARD_WIDTH - 40 ? "end" : "start" }, "p95"),
  );
  const figures = `${formatCount(durations.length)} jobs · p50 ${formatSeconds(middle)} · p95 ${formatSeconds(slow)}`;
  return element("figure", { class: "multiple" }, element("figcaption", {}, element("b", { title: endpoint }, endpoint), element("span", {}, figures)), chart);
}
