/* From a question to a plan: the fits by family, the question as the page's address keeps it, and what the laws answer.
   In: fits, a question. Out: estimates with intervals, and the cautions in plain sentences. */
"use strict";

const STATUSES = ["own", "published", "re-evaluated", "derived", "second-hand"];
const REPEATS = ["loss_repeats", "loss_repeats_joint"];

const has = (fit, names) => names.every((name) => Number.isFinite(fit.params[name]));

/* The families in the order of their first fit, each with the fits that this page has a use for. */
function byFamily(fits) {
  const families = new Map();
  for (const fit of fits) {
    if (!families.has(fit.family))
      families.set(fit.family, { name: fit.family, losses: [], repeats: [], scores: [], unfitted: [] });
    const family = families.get(fit.family),
      fitted = Object.keys(fit.params).length > 0;
    const isLoss = fit.law === "loss_parametric",
      isRepeats = REPEATS.includes(fit.law),
      law = SCORE_LAWS[fit.law];
    if (!isLoss && !isRepeats && !law) continue;
    if (!fitted) family.unfitted.push(fit);
    else if (isLoss && has(fit, TERMS)) family.losses.push(fit);
    else if (isRepeats && has(fit, [...TERMS, "RD_star"])) family.repeats.push(fit);
    else if (law && has(fit, law.needs)) family.scores.push(fit);
  }
  for (const [name, family] of families) {
    if (!family.losses.length && !family.scores.length && !family.unfitted.length) families.delete(name);
  }
  return families;
}

const keyOf = (fit) => `${fit.measure}.${fit.status}`;
const scoreKey = (fit) => `${fit.law}.${fit.status}`;
const statusesOf = (family) => [
  ...new Set([...family.losses, ...family.repeats, ...family.scores].map((fit) => fit.status)),
];
const benchmarksOf = (family) => [...new Set(family.scores.map((fit) => fit.measure))];
const lossLaw = (family, question) => family.losses.find((fit) => keyOf(fit) === question.loss) ?? family.losses[0];

/* The law of repeated data that goes with a law of loss, if the family has one. */
function repeatsLaw(family, loss) {
  const same = family.repeats.filter((fit) => fit.measure === loss?.measure);
  return same.find((fit) => fit.status === loss.status) ?? same[0];
}

/* What guessing scores on a benchmark; null where no fit says. */
function chanceOf(family, benchmark) {
  const known = family.scores.filter((fit) => fit.measure === benchmark);
  const values = known.map(
    (fit) => fit.conventions.chance ?? (fit.law === "accuracy_sigmoid" ? fit.params.floor : null),
  );
  return values.find((value) => typeof value === "number") ?? null;
}

/* The laws of a benchmark's score that can be evaluated beside a law of loss. */
function scoreLaws(family, benchmark, loss) {
  return family.scores.filter((fit) => {
    if (fit.measure !== benchmark) return false;
    if (fit.law === "accuracy_error" && chanceOf(family, benchmark) === null) return false;
    return (
      SCORE_LAWS[fit.law].of === "compute" ||
      (loss && [undefined, null, loss.measure].includes(fit.conventions.loss))
    );
  });
}

/* The law that the question names, or the same of another status, or any. */
function scoreLaw(family, question, loss) {
  const laws = scoreLaws(family, question.benchmark, loss),
    [law] = question.law.split(".");
  return laws.find((fit) => scoreKey(fit) === question.law) ?? laws.find((fit) => fit.law === law) ?? laws[0];
}

/* The compute at which a law reaches a score, as a fraction: of the constants of the law of loss and of its own. */
function flopsOfScore(fit, score, chance) {
  const law = SCORE_LAWS[fit.law];
  if (law.of === "compute") return (l, p) => law.inverse(p, score, chance);
  return (l, p) => flopsOfLoss(l, law.inverse(p, score, chance));
}

/* Whether some compute is asked for: a score out of reach takes infinite FLOPs, one below all that the law gives 0. */
const isReached = (asked) => Number.isFinite(asked.flops.value) && asked.flops.value > 0;

/* {flops, params, tokens, ratio, optimal}: what is trained; null where the family's laws cannot say. A number that
   the laws cannot give is null. `best` estimates what follows from the constants and their best N and D; for a score
   the compute differs with the constants, and so do N and D. */
function allocationAsked(family, question, loss) {
  const { mode, params, tokens } = question;
  if (mode === "model") return loss ? allocationGiven(loss, params, tokens) : null;
  let flops = given(question.flops),
    fits = [loss],
    flopsOf = () => flops.value;
  if (mode === "target") {
    const fit = scoreLaw(family, question, loss);
    if (!fit) return null;
    flopsOf = flopsOfScore(fit, question.target / 100, chanceOf(family, question.benchmark));
    fits = [loss, fit];
    const alone = SCORE_LAWS[fit.law].of === "compute";
    flops = alone ? estimate([fit], (p) => flopsOf(null, p)) : estimate(fits, flopsOf);
  }
  const asked = { flops, params: null, tokens: null, ratio: null, optimal: true };
  if (!loss || !isReached(asked)) return asked;
  const best = (read) => estimate(fits, (l, p) => read(l, ...optimum(l, flopsOf(l, p))));
  const found = { params: best((l, n) => n), tokens: best((l, n, d) => d), ratio: best((l, n, d) => d / n) };
  return { ...asked, ...found, best };
}

/* The same where parameters, tokens or both are given; the missing one is the best partner of the other. */
function allocationGiven(loss, params, tokens) {
  if (params && tokens) {
    const flops = given(6 * params * tokens);
    return { flops, params: given(params), tokens: given(tokens), ratio: given(tokens / params), optimal: false };
  }
  if (!params && !tokens) return null;
  const size = params || tokens,
    partner = (p) => (params ? flopsOfParams : flopsOfTokens)(p, size) / 6 / size;
  const flops = estimate([loss], (p) => 6 * size * partner(p)),
    other = estimate([loss], partner);
  const ratio = estimate([loss], (p) => (params ? partner(p) / size : size / partner(p)));
  const [n, d] = params ? [given(size), other] : [other, given(size)];
  return { flops, params: n, tokens: d, ratio, optimal: true };
}

/* What the family's laws answer. `nats` is the loss on the tokens there are, `fresh` that without repetition;
   `lossOf` gives `nats` from the constants of `lossFit`; null where no law says. Scores are those of `benchmarks`. */
function planOf(family, question, benchmarks = benchmarksOf(family)) {
  const loss = lossLaw(family, question),
    asked = allocationAsked(family, question, loss);
  const plan = { family, question, loss, asked, law: scoreLaw(family, question, loss), nats: null, scores: [] };
  if (!asked || !isReached(asked)) return plan;
  if (loss) {
    const flops = asked.flops.value,
      n = asked.params.value,
      d = asked.tokens.value,
      { unique } = question;
    const repeats = repeatsLaw(family, loss);
    plan.epochs = unique ? d / unique : null;
    plan.repeats = plan.epochs > 1 ? repeats : undefined;
    plan.lossFit = plan.repeats ?? loss;
    const freshOf = asked.optimal ? (p) => frontierLoss(p, flops) : (p) => parametricLoss(p, n, d);
    const clamped = plan.lossFit.conventions.clamps !== "none";
    plan.lossOf = plan.repeats ? (p) => repeatedLoss(p, n, d, unique, clamped) : freshOf;
    plan.fresh = estimate([loss], freshOf);
    const ofBest = asked.best && !plan.repeats; // where the compute differs with the constants, so does the loss
    plan.nats = ofBest ? asked.best(parametricLoss) : estimate([plan.lossFit], plan.lossOf);
  }
  plan.onFrontier = asked.optimal && !plan.repeats;
  for (const benchmark of benchmarks) {
    const chance = chanceOf(family, benchmark);
    for (const fit of scoreLaws(family, benchmark, loss)) {
      plan.scores.push({ benchmark, fit, chance, ...scoreOf(plan, fit, chance) });
    }
  }
  return plan;
}

/* The score that a law gives for a plan, between 0 and 1; `passes`: the law itself, or its interval, leaves them, so
   that without the law's own value there is none to show.
   Off the frontier, a law of compute is asked at the compute whose best allocation has the same loss. */
function scoreOf(plan, fit, chance) {
  const law = SCORE_LAWS[fit.law],
    flops = plan.asked.flops.value;
  let found;
  if (law.of === "loss") found = estimate([plan.lossFit, fit], (l, p) => law.score(p, plan.lossOf(l), chance));
  else if (plan.onFrontier || !plan.loss) found = estimate([fit], (p) => law.score(p, flops, chance));
  else found = estimate([plan.lossFit, fit], (l, p) => law.score(p, flopsOfLoss(l, plan.lossOf(l)), chance));
  const cut = (value) => (value === null ? null : Math.min(Math.max(value, 0), 1));
  const leaves = (value) => value !== null && value !== cut(value);
  const isBeyond = leaves(found.value),
    passes = isBeyond ? "the law" : leaves(found.low) || leaves(found.high) ? "the interval" : "";
  return { value: cut(found.value), low: cut(found.low), high: cut(found.high), passes };
}
