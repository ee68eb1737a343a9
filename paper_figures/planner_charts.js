/* Two charts in SVG: the frontier of loss, and the scores of a benchmark, against compute on a logarithmic axis.
   In: a plan. Out: the elements of an empty <svg>, drawn for the width that the page gives it. */
"use strict";

const HEIGHT = 300,
  MARGIN = { top: 18, right: 14, bottom: 42, left: 50 };
const POINTS = 72; // along a curve
const DASHES = { accuracy_compute: "", accuracy_error: "7 3", accuracy_sigmoid: "2 3", accuracy_loss: "9 3 2 3" };

/* [low, high] in decades: the runs with a decade before and three after, and whatever is asked within. */
function decadesShown(fits, flops) {
  const runs = rangeOfRuns(fits);
  const [low, high] = runs ? [Math.floor(Math.log10(runs[0])) - 1, Math.ceil(Math.log10(runs[1])) + 3] : [17, 23];
  const asked = Number.isFinite(flops) && flops > 0 ? Math.log10(flops) : low;
  return [Math.min(low, Math.floor(asked - 0.2)), Math.max(high, Math.ceil(asked + 0.2))];
}

/* Round steps that cut a span into at most about `most` parts. */
function ticks(low, high, most) {
  const rough = (high - low) / most,
    unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
  return { values: found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/* Appends an SVG element to another. */
function drawn(parent, name, attributes, text) {
  const made = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return parent.appendChild(made);
}

/* An empty chart for the width of its element: axes, grid, the shaded range of the runs, and `inside`, which is cut at
   the axes. x and y give places. */
function frame(svg, { decades, low, high, label, shown, runs }) {
  const width = Math.max(svg.clientWidth, 240),
    left = MARGIN.left,
    right = width - MARGIN.right,
    bottom = HEIGHT - MARGIN.bottom;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const x = (flops) => left + ((Math.log10(flops) - decades[0]) / (decades[1] - decades[0])) * (right - left);
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top);
  const area = { x: left, y: MARGIN.top, width: right - left, height: bottom - MARGIN.top };
  drawn(drawn(svg, "clipPath", { id: `${svg.id}-area` }), "rect", area);
  if (runs) {
    const [from, to] = runs.map(x);
    drawn(svg, "rect", { ...area, class: "runs", x: from, width: Math.max(to - from, 2) });
    const middle = { x: (from + to) / 2, y: MARGIN.top - 4, "text-anchor": "middle" };
    drawn(svg, "text", { class: "quiet", ...middle }, "runs");
  }
  const chart = { svg, x, y, left, right, bottom, inside: null };
  drawAxes(chart, { decades, rows: ticks(low, high, 5), label, shown });
  chart.inside = drawn(svg, "g", { "clip-path": `url(#${svg.id}-area)` });
  return chart;
}

function drawAxes({ svg, x, y, left, right, bottom }, { decades, rows, label, shown }) {
  for (const value of rows.values) {
    drawn(svg, "line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) });
    drawn(svg, "text", { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, shown(value, rows.digits));
  }
  const stride = Math.ceil(((decades[1] - decades[0]) * 44) / (right - left)); // 44 px a label
  for (let decade = decades[0]; decade <= decades[1]; decade++) {
    const at = x(10 ** decade),
      named = (decade - decades[0]) % stride === 0;
    drawn(svg, "line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + (named ? 5 : 3) });
    if (named) drawn(svg, "text", { x: at, y: bottom + 18, "text-anchor": "middle" }, power(10 ** decade));
  }
  drawn(svg, "line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom });
  const below = { x: (left + right) / 2, y: HEIGHT - 5, "text-anchor": "middle" };
  drawn(svg, "text", below, "training compute C = 6ND (FLOPs)");
  const beside = { x: -(MARGIN.top + bottom) / 2, y: 12, transform: "rotate(-90)", "text-anchor": "middle" };
  drawn(svg, "text", beside, label);
}

/* A dashed level with its name, above its left or below its right end. */
function drawLevel({ svg, y, left, right }, value, text, isLeft) {
  drawn(svg, "line", { class: "reference", x1: left, x2: right, y1: y(value), y2: y(value) });
  const place = isLeft ? { x: left + 5, y: y(value) - 5 } : { x: right, y: y(value) + 12, "text-anchor": "end" };
  drawn(svg, "text", { class: "quiet", ...place }, text);
}

/* Compute along the shown decades. */
function along([low, high]) {
  return Array.from({ length: POINTS + 1 }, (_, i) => 10 ** (low + ((high - low) * i) / POINTS));
}

/* A curve with its band. */
function drawCurve({ inside, x, y }, flops, found, style) {
  const path = (points) => points.map(([c, value]) => `${x(c).toFixed(1)},${y(value).toFixed(1)}`).join("L");
  const points = (end) => flops.map((c, i) => [c, found[i][end]]).filter(([, value]) => Number.isFinite(value));
  const [low, high] = [points("low"), points("high")];
  if (low.length > 1 && low.length === high.length) {
    drawn(inside, "path", { class: `band ${style.class}`, d: `M${path([...high, ...low.reverse()])}Z` });
  }
  const dashes = style.dashes ?? "";
  drawn(inside, "path", {
    class: `curve ${style.class}`,
    "stroke-dasharray": dashes,
    d: `M${path(points("value"))}`,
  });
}

/* A point at the chosen compute, with a line down to the axis and its value beside it, off the curve. */
function drawPoint({ svg, inside, x, y, right, bottom }, flops, value, text, isFalling) {
  const [at, height] = [x(flops), y(value)];
  drawn(inside, "line", { class: "chosen", x1: at, x2: at, y1: Math.max(height, MARGIN.top), y2: bottom });
  drawn(inside, "circle", { class: "mark", cx: at, cy: height, r: 4.5 });
  const isLeft = at > right - 70,
    isAbove = isLeft !== isFalling;
  const place = { x: at + (isLeft ? -9 : 9), y: Math.max(height + (isAbove ? -9 : 16), MARGIN.top + 12) };
  drawn(svg, "text", { class: "value", ...place, "text-anchor": isLeft ? "end" : "start" }, text);
}

/* [lowest, highest] of estimates and single values. */
function extent(found, values) {
  const ends = [...found.flatMap((each) => [each.value, each.low, each.high]), ...values].filter(Number.isFinite);
  return [Math.min(...ends), Math.max(...ends)];
}

/* The frontier of loss, and the loss of a plan, which repeats or another allocation lift above it.
   Returns a caption. */
function drawLoss(svg, plan) {
  const { loss, asked } = plan,
    flops = asked?.flops.value,
    { E } = loss.params;
  const decades = decadesShown([loss], flops),
    xs = along(decades),
    runs = rangeOfRuns([loss]);
  const found = xs.map((c) => estimate([loss], (p) => frontierLoss(p, c)));
  const near = found.filter((_, i) => !runs || xs[i] >= runs[0]); // far below the runs a band fills the chart
  const [least, high] = extent(near, plan.nats ? [plan.nats.value] : []);
  const low = E > 2 * least - high ? Math.min(least, E) : least,
    room = 0.06 * (high - low);
  const shown = (value, digits) => value.toFixed(digits);
  const range = { low: low - room, high: high + room };
  const chart = frame(svg, { decades, ...range, label: `loss (${lossUnit(loss)})`, shown, runs });
  if (E >= low) drawLevel(chart, E, `E = ${constant(E)}`, true);
  drawCurve(chart, xs, found, { class: "first" });
  if (plan.nats) drawPoint(chart, flops, plan.nats.value, nats(plan.nats.value), true);
  const told = runs
    ? "The shaded range is that of the runs; beyond it the law extrapolates."
    : "The range of the runs is not recorded.";
  const band = loss.draws.length ? "Band: 95\u202f%. " : "";
  return `Least loss that ${nameOf(plan.family.name)} reaches with a compute. ${band}${told}`;
}

/* The scores that each law gives a benchmark, with chance and the target. Returns a caption. */
function drawScores(svg, plan) {
  const { family, question, loss, asked } = plan,
    { benchmark } = question,
    flops = asked?.flops.value;
  const fits = scoreLaws(family, benchmark, loss),
    chance = chanceOf(family, benchmark),
    target = question.mode === "target" ? question.target / 100 : null;
  const decades = decadesShown(fits, flops),
    xs = along(decades);
  const curves = fits.map((fit) => [fit, xs.map((c) => scoreOnFrontier(fit, loss, chance, c))]);
  const cut = (value) => Math.min(Math.max(value, 0), 1);
  const [least, most] = extent(
    curves.flatMap(([, found]) => found),
    [chance, target],
  ).map(cut);
  const room = Math.max(0.08 * (most - least), 0.01),
    shown = (value, digits) => (100 * value).toFixed(Math.max(digits - 2, 0));
  const range = { low: cut(least - room), high: cut(most + room) };
  const chart = frame(svg, {
    decades,
    ...range,
    label: `${nameOf(benchmark)} (%)`,
    shown,
    runs: rangeOfRuns(fits),
  });
  if (chance !== null) drawLevel(chart, chance, "chance", false);
  if (target !== null) drawLevel(chart, target, "target", true);
  for (const [fit, found] of curves) drawCurve(chart, xs, found, { class: fit.law, dashes: DASHES[fit.law] });
  const chosen = plan.scores.find((score) => score.fit === plan.law);
  if (chosen) drawPoint(chart, flops, chosen.value, scoreShown(chosen), false);
  const bands = fits.some((fit) => fit.draws.length) ? " Bands: 95\u202f%." : "";
  return `${nameOf(benchmark)} of the best allocation, as each law has it.${bands}`;
}

/* The score of the best allocation of a compute. */
function scoreOnFrontier(fit, loss, chance, flops) {
  const law = SCORE_LAWS[fit.law];
  if (law.of === "compute") return estimate([fit], (p) => law.score(p, flops, chance));
  return estimate([loss, fit], (l, p) => law.score(p, frontierLoss(l, flops), chance));
}
