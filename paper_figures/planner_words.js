/* Numbers and cautions in words. In: numbers, a plan. Out: text for people, sentences of plain English. */
"use strict";

const MOST_EPOCHS = 10; // of the runs that Cuervo & Marxer 2024 fitted Eq. 8 to; a law of others has no record of it
const MINUS = "\u2212",
  TIMES = "\u2009\u00d7\u2009",
  THIN = "\u202f";
const nameOf = (name) => DATA.labels[name] ?? name.replaceAll("_", " ");
const superscript = (n) =>
  String(n).replace(
    /[-\d]/g,
    (sign) => "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"["-0123456789".indexOf(sign)],
  );

/* 4.07 × 10²⁰, and 10²⁰. */
function power(value) {
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2013";
  if (value <= 0) return "0";
  const [digits, exponent] = value.toExponential(2).split("e"),
    shown = String(Number(digits));
  return (shown === "1" ? "" : shown + TIMES) + "10" + superscript(Number(exponent));
}

/* Three significant digits with k, M, B, T. */
function count(value) {
  if (!Number.isFinite(value) || value >= 1e15 || (value > 0 && value < 0.01)) return power(value);
  const rounded = Number(value.toPrecision(3));
  const step = Math.max(0, Math.min(4, Math.floor(Math.log10(Math.max(rounded, 1)) / 3 + 1e-9)));
  const part = rounded / 1000 ** step;
  const shown = part.toLocaleString("en", { maximumSignificantDigits: 3 });
  return step ? shown + THIN + "kMBT"[step - 1] : shown;
}

const percent = (share) => `${(100 * share).toFixed(1)}${THIN}%`.replace("-", MINUS);
const nats = (value) => value.toFixed(3);
const units = (measure) => measure.replaceAll("_", " ");

/* The unit of a loss, as far as it is told. */
function lossUnit({ measure, conventions }) {
  if (conventions.loss_unit) return conventions.loss_unit;
  return measure.startsWith("nats_per_") && conventions.loss !== "not stated" ? units(measure) : "unit not stated";
}

/* What N, D and losses of the family are, in two sentences. */
function conventionsOf({ loss, law }) {
  const told = (loss ?? law)?.conventions ?? {};
  let counted = "What N and D count is not recorded with these laws.";
  if (told.table) counted = `N and D are the columns ${told.N} and ${told.D} of ${told.table}.`;
  else if (told.N === "params_total")
    counted = "N is all parameters with the tied embedding counted once, D the tokens seen in training.";
  else if (told.N) counted = `N: ${told.N}. D: ${told.D}.`;
  if (!loss) return [counted, "No law of loss."];
  const read = told.loss_read_from ? `, read from ${told.loss_read_from}` : "",
    unit = lossUnit(loss);
  return [counted, `The loss of this family: ${unit}${read}.`];
}

/* Three significant digits, for constants. */
function constant(value) {
  const size = Math.abs(value);
  const shown =
    size && (size >= 1e5 || size < 1e-3)
      ? value.toExponential(2).replace("e+", "e")
      : String(Number(value.toPrecision(3)));
  return shown.replaceAll("-", MINUS);
}

/* Time in the unit that suits it. */
function duration(seconds) {
  const steps = [
    [60, 1, "s"],
    [3600, 60, "min"],
    [2 * 86400, 3600, "h"],
    [2 * 31557600, 86400, "days"],
    [Infinity, 31557600, "years"],
  ];
  if (seconds < 1) return `under 1${THIN}s`;
  const [, unit, name] = steps.find(([below]) => seconds < below) ?? steps[4];
  return count(seconds / unit) + THIN + name;
}

/* "[low, high]", or nothing where there is none. */
function range(found, shown) {
  if (found.low === null) return "";
  return found.high === Infinity ? `${shown(found.low)} or more` : `[${shown(found.low)}, ${shown(found.high)}]`;
}

/* A score, or where its law leaves 0 to 100 % that it does. */
function scoreShown({ value, passes }) {
  if (passes !== "the law") return percent(value);
  return value > 0 ? `beyond 100${THIN}%` : `below 0${THIN}%`;
}

/* The interval of a score; none where the law itself leaves 0 to 100 %. */
const scoreRange = (score) => (score.passes === "the law" ? "" : range(score, percent));

/* What a row of numbers rests on, in few words; `used` are its laws. */
function shortCautions(plan, score, used) {
  const { asked, question, epochs } = plan;
  if (!asked) return ["cannot answer"];
  if (!isReached(asked)) return ["out of reach"];
  const far = extrapolated(used, asked.flops.value).replace(" the runs", "");
  return [
    far,
    score && atChance(score) ? "at chance" : "",
    question.unique && !plan.repeats && !(epochs <= 1) ? "U ignored" : "",
    isWornOut(plan) ? `${count(epochs)} epochs` : "",
    used.some((fit) => flagged(fit, "").length) ? "flagged" : "",
  ].filter((text) => text);
}

/* Whether tokens are repeated more often than the laws have been seen to hold for. */
const isWornOut = ({ epochs, repeats }) => Boolean(repeats) && epochs > MOST_EPOCHS;

function cautionsOf(plan) {
  const { loss, asked, question } = plan;
  if (!asked) return [unanswered(plan)];
  const found = [];
  if (!isReached(asked)) return [outOfReach(plan)];
  if (!loss) found.push("No law of loss in N and D for this family: N, D and the loss cannot be given.");
  else found.push(...ofLoss(plan));
  const shown = plan.scores.filter((score) => score.benchmark === question.benchmark);
  found.push(
    ...extrapolation(
      plan,
      shown.map((score) => score.fit),
      "the scores",
    ),
  );
  for (const score of shown) found.push(...ofScore(score));
  const others = plan.scores.filter((score) => score.benchmark !== question.benchmark && atChance(score));
  const names = [...new Set(others.map((score) => nameOf(score.benchmark)))];
  if (names.length) found.push(`Not told apart from chance at this compute: ${names.join(", ")}.`);
  return [...new Set(found)];
}

function unanswered({ loss, question }) {
  if (question.mode === "target")
    return "No law of this benchmark's score for this family: choose a benchmark or another family.";
  if (!loss) return "No law of loss in N and D for this family: give a compute budget instead.";
  return "Give N, D or both; the missing one becomes the best partner of the other.";
}

function outOfReach(plan) {
  const { law, loss, question, family } = plan;
  const score = SCORE_LAWS[law.law],
    name = nameOf(question.benchmark),
    chance = chanceOf(family, question.benchmark);
  if (plan.asked.flops.value === 0)
    return `${percent(question.target / 100)} on ${name} is below all that this law gives.`;
  const limit = score.of === "loss" ? score.score(law.params, loss.params.E, chance) : null;
  const most = limit === null ? "it does not rise that far" : `it ends at ${percent(limit)} however much compute`;
  return `${percent(question.target / 100)} on ${name} is above what this law can reach: ${most}.`;
}

function ofLoss(plan) {
  const { loss, lossFit, question, asked, epochs, repeats, family } = plan,
    found = [];
  found.push(...extrapolation(plan, [loss], "the loss law"));
  if (!lossFit.draws.length) {
    const printed =
      lossFit.status === "own"
        ? "The loss law has no resamples"
        : "The constants of the loss law are taken as printed";
    const isBare = [asked.params, asked.tokens, plan.nats].every((each) => each.low === null);
    const left = isBare ? "N, D, the loss and what follows from it have no interval" : "intervals leave its error out";
    found.push(`${printed}: ${left}.`);
  }
  found.push(...flagged(lossFit, "Loss law"));
  if (question.unique && epochs <= 1) found.push("Fewer tokens than unique ones: nothing is repeated.");
  if (epochs > 1 && !repeats)
    found.push("No law of repeated data for this family: the loss is that of tokens never seen before.");
  if (isWornOut(plan)) {
    const known = `the published law of repeats had at most ${MOST_EPOCHS} epochs`;
    found.push(`D / U = ${count(epochs)}: ${known}; this is further out.`);
  }
  if (repeats && asked.optimal) {
    const missed = question.mode === "target" ? "the score is missed, and " : "";
    found.push(`This suits tokens never seen before: with repeats ${missed}another split of C may do better.`);
  }
  return found;
}

function flagged(fit, name) {
  return fit.flags.filter((flag) => !flag.startsWith("constants as printed")).map((flag) => `${name}: ${flag}.`);
}

/* [from, to]: the FLOPs that all of some laws were fitted on; null where none of them says. */
function rangeOfRuns(fits) {
  const known = fits.filter((fit) => fit.conventions.flops_from > 0 && fit.conventions.flops_to > 0);
  if (!known.length) return null;
  const ends = (name) => known.map((fit) => fit.conventions[name]);
  return [Math.max(...ends("flops_from")), Math.min(...ends("flops_to"))];
}

/* How far a budget lies beyond, or below, the runs behind some laws; empty where it is no extrapolation. */
function extrapolated(fits, flops) {
  const runs = rangeOfRuns(fits);
  if (!runs) return "";
  const [below, beyond] = [Math.log10(runs[0] / flops), Math.log10(flops / runs[1])];
  const decades = Math.max(below, beyond);
  if (decades < 0.05) return ""; // a choice
  const shown = `${decades.toFixed(1)} decade${decades.toFixed(1) === "1.0" ? "" : "s"}`;
  return `${shown} ${beyond > below ? "beyond" : "below"} the runs`;
}

function extrapolation(plan, fits, name) {
  if (!fits.length) return [];
  if (!rangeOfRuns(fits))
    return [`The range of the runs behind ${name} is not recorded: what extrapolates is not marked.`];
  const far = extrapolated(fits, plan.asked.flops.value),
    [from, to] = rangeOfRuns(fits);
  return far ? [`Extrapolates ${far} behind ${name}, which had ${power(from)} to ${power(to)} FLOPs.`] : [];
}

const atChance = ({ value, low, chance }) => chance !== null && (low ?? value) <= chance;

function ofScore(score) {
  const { fit, value, chance, passes } = score,
    found = [];
  const name = `${nameOf(score.benchmark)}, ${SCORE_LAWS[fit.law].title}`;
  if (atChance(score)) {
    const far = value <= chance ? "at or below chance" : "the interval includes chance";
    found.push(`${name}: ${far} (${percent(chance)}), so this says little.`);
  }
  if (passes === "the law") found.push(`${name}: ${scoreShown(score)}, where it cannot hold; no score is given.`);
  else if (passes) found.push(`${name}: the interval leaves 0 to 100 %, where it cannot hold; cut there.`);
  if (!fit.draws.length) found.push(`${name}: no resamples, so no interval.`);
  return [...found, ...flagged(fit, name)];
}
