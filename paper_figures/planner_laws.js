/* Fitted laws in numbers: constants in; losses, allocations, scores and intervals out. Nothing here touches the page.
   Losses in nats, scores as fractions, compute C = 6ND in FLOPs; the same formulas as the folder `analysis`. */
"use strict";

const LEVEL = 0.95; // of every interval
const TERMS = ["E", "A", "B", "alpha", "beta"];

/* The normal distribution function, as the series of its central part. */
function normal(x) {
  if (Math.abs(x) > 8) return x > 0 ? 1 : 0;
  let term = x,
    sum = x;
  for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(sum); k++) {
    term *= (x * x) / (2 * k + 1);
    sum += term;
  }
  return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}

/* The x whose `normal` is p, by Newton's rule; p within 0.02 and 0.98, where it converges from 0. */
function normalQuantile(p) {
  let x = 0;
  for (let step = 1, turns = 0; Math.abs(step) > 1e-15 && turns < 60; turns++) {
    step = ((p - normal(x)) * Math.sqrt(2 * Math.PI)) / Math.exp((-x * x) / 2);
    x += step;
  }
  return x;
}

/* P(|t| < √freedom · tan angle) of Student's t with a whole number of degrees of freedom: a finite sum. */
function central(angle, freedom) {
  const odd = freedom % 2 === 1,
    square = Math.cos(angle) ** 2;
  let term = odd ? Math.cos(angle) : 1,
    sum = 0;
  for (let k = odd ? 3 : 2; k <= freedom; k += 2) {
    sum += term;
    term *= (square * (k - 1)) / k;
  }
  return odd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum;
}

const quantiles = new Map();

/* The t that |t| stays below with probability LEVEL. */
function studentQuantile(freedom) {
  if (!quantiles.has(freedom)) {
    let low = 0,
      high = Math.PI / 2;
    for (let turn = 0; turn < 60; turn++) {
      const middle = (low + high) / 2;
      if (central(middle, freedom) < LEVEL) low = middle;
      else high = middle;
    }
    quantiles.set(freedom, Math.sqrt(freedom) * Math.tan(low));
  }
  return quantiles.get(freedom);
}

/* Linear interpolation between sorted values; the lower one where both are infinite. */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1),
    below = Math.floor(place),
    part = place - below;
  const low = sorted[below],
    high = sorted[Math.min(below + 1, sorted.length - 1)];
  return part === 0 || low === high ? low : low + (high - low) * part;
}

const LEAST_DRAWS = 40;

/* [low, high]: bias-corrected percentiles of Student's t, as `bootstrap.interval` has them and says why; draws
   that were reflected at the point need no correction. */
function interval(point, draws, freedom, reflected) {
  const width = studentQuantile(freedom);
  const sorted = Float64Array.from(draws).sort();
  let below = 0,
    tied = 0;
  for (const draw of sorted) {
    below += draw < point ? 1 : 0;
    tied += draw === point ? 1 : 0;
  }
  const share = (below + tied / 2) / sorted.length;
  const isShifted = !reflected && tied / sorted.length <= 0.05;
  const shift = isShifted ? 2 * normalQuantile(Math.min(Math.max(share, 0.025), 0.975)) : 0;
  const low = quantile(sorted, normal(shift - width)),
    high = quantile(sorted, normal(shift + width));
  return [Math.min(low, point), Math.max(high, point)];
}

const drawnConstants = new WeakMap();

/* The resampled constants of a fit by name, as many as its file keeps. */
function constantsDrawn(fit) {
  if (!drawnConstants.has(fit)) {
    const names = Object.keys(fit.params);
    drawnConstants.set(
      fit,
      fit.draws.map((row) => Object.fromEntries(row.map((x, i) => [names[i], x]))),
    );
  }
  return drawnConstants.get(fit);
}

/* A number that was given, and has no error. */
function given(value) {
  return { value, low: null, high: null, given: true };
}

/* What follows from the constants of one or more fits, with its interval over their resamples, taken in their order.
   Fits without resamples are taken as exact; resamples that give no number are left out, as in `forecast.estimate`. */
function estimate(fits, follows) {
  const value = follows(...fits.map((fit) => fit.params)),
    known = fits.filter((fit) => fit.draws.length);
  if (!known.length || !Number.isFinite(value)) return { value, low: null, high: null };
  const draws = fits.map((fit) => (fit.draws.length ? constantsDrawn(fit) : null));
  const values = [];
  for (let i = 0; i < Math.min(...known.map((fit) => fit.draws.length)); i++) {
    const drawn = follows(...fits.map((fit, j) => draws[j]?.[i] ?? fit.params));
    if (!Number.isNaN(drawn)) values.push(drawn);
  }
  if (values.length < LEAST_DRAWS) return { value, low: null, high: null };
  const freedom = Math.min(...known.map((fit) => fit.freedom));
  const [low, high] = interval(
    value,
    values,
    freedom,
    known.some((fit) => fit.reflected),
  );
  return { value, low, high };
}

/* L(N, D) = E + A/N^α + B/D^β: Cuervo & Marxer 2024, Eq. 4. */
function parametricLoss(p, params, tokens) {
  return p.E + p.A * params ** -p.alpha + p.B * tokens ** -p.beta;
}

/* The best allocation of C = 6ND, Eq. 5 and 6: N = G (C/6)^a, D = (C/6)^b / G. On it L = E + K (C/6)^-rate. */
function allocation(p) {
  const sum = p.alpha + p.beta,
    G = ((p.alpha * p.A) / (p.beta * p.B)) ** (1 / sum);
  return {
    G,
    a: p.beta / sum,
    b: p.alpha / sum,
    rate: (p.alpha * p.beta) / sum,
    K: p.A * G ** -p.alpha + p.B * G ** p.beta,
  };
}

function optimum(p, flops) {
  const { G, a, b } = allocation(p);
  return [G * (flops / 6) ** a, (flops / 6) ** b / G];
}

function frontierLoss(p, flops) {
  const { K, rate } = allocation(p);
  return p.E + K * (flops / 6) ** -rate;
}

/* The compute whose best allocation reaches a loss; infinite for one that no compute reaches. */
function flopsOfLoss(p, loss) {
  const { K, rate } = allocation(p);
  return loss > p.E ? 6 * ((loss - p.E) / K) ** (-1 / rate) : Infinity;
}

/* The compute whose best allocation has these parameters, or these tokens. */
function flopsOfParams(p, params) {
  const { G, a } = allocation(p);
  return 6 * (params / G) ** (1 / a);
}

function flopsOfTokens(p, tokens) {
  const { G, b } = allocation(p);
  return 6 * (tokens * G) ** (1 / b);
}

/* A base and `repeats` times as much again, worth ever less. */
function decayed(base, repeats, halt) {
  return repeats === 0 ? base : base + base * halt * (1 - Math.exp(-repeats / halt));
}

/* Loss on D tokens of which only `unique` < D differ: Eq. 7 and 8. Clamped, U_N is no more than N, so that R_N is never
   negative. NaN for N > U_N under a law without R_N*. */
function repeatedLoss(p, params, tokens, unique, clamped) {
  const { G, a, b } = allocation(p),
    best = G * (unique * G) ** (a / b);
  const fitting = clamped ? Math.min(params, best) : best;
  const worthParams = decayed(fitting, params / fitting - 1, p.RN_star);
  return parametricLoss(p, worthParams, decayed(unique, tokens / unique - 1, p.RD_star));
}

/* Laws of scores: of = what the score follows from; score(constants, x, chance); inverse(constants, score, chance) is
   the x that reaches it, where a law that cannot says infinite compute or a loss below all. */
const SCORE_LAWS = {
  accuracy_compute: {
    title: "power law of compute",
    formula: "Q = Q0 · C^γ",
    needs: ["Q0", "gamma"],
    of: "compute",
    score: (p, flops) => p.Q0 * flops ** p.gamma,
    inverse: (p, score) => (p.gamma > 0 ? (score / p.Q0) ** (1 / p.gamma) : Infinity),
  },
  accuracy_error: {
    title: "power law of error",
    formula: "(1 − Q) / (1 − chance) = K · C^−γ",
    needs: ["K", "gamma"],
    of: "compute",
    score: (p, flops, chance) => 1 - (1 - chance) * p.K * flops ** -p.gamma,
    inverse: (p, score, chance) =>
      p.gamma > 0 && score < 1 ? ((1 - score) / ((1 - chance) * p.K)) ** (-1 / p.gamma) : Infinity,
  },
  accuracy_sigmoid: {
    title: "sigmoid of loss",
    formula: "Q = floor + (ceiling − floor) / (1 + e^(steepness · (L − midpoint)))",
    needs: ["floor", "ceiling", "steepness", "midpoint"],
    of: "loss",
    score: (p, loss) => p.floor + (p.ceiling - p.floor) / (1 + Math.exp(p.steepness * (loss - p.midpoint))),
    inverse: (p, score) => {
      if (score >= p.ceiling || p.steepness <= 0) return -Infinity;
      if (score <= p.floor) return Infinity;
      return p.midpoint + Math.log((p.ceiling - score) / (score - p.floor)) / p.steepness;
    },
  },
  accuracy_loss: {
    title: "linear in loss",
    formula: "Q = intercept + slope · L",
    needs: ["slope", "intercept"],
    of: "loss",
    score: (p, loss) => p.intercept + p.slope * loss,
    inverse: (p, score) => (p.slope < 0 ? (score - p.intercept) / p.slope : -Infinity),
  },
};
