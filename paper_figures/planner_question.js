/* The question: as the page's address keeps it, as the controls show it, and the fits that a user adds.
   In: an address, typed text, files. Out: a question, or a sentence that says what is wrong with them. */
"use strict";

const MODES = { compute: ["flops"], target: ["target"], model: ["params", "tokens"] }; // what each fixes
const NUMBERS = ["flops", "target", "params", "tokens", "unique", "devices", "utilisation"];
const OPTIONAL = ["params", "tokens", "unique"];
const SUFFIXES = { k: 1e3, K: 1e3, M: 1e6, B: 1e9, G: 1e9, T: 1e12 };

/* A positive number as people type it: 1e20, 82.3B, 1,000,000; NaN for what is none. */
function parsed(text) {
  const [, digits, suffix] = text.replace(/[\s,_]/g, "").match(/^([\d.]+(?:[eE][-+]?\d+)?)([kKMBGT]?)$/) ?? [];
  const value = digits === undefined ? NaN : Number(digits) * (SUFFIXES[suffix] ?? 1);
  return value > 0 && Number.isFinite(value) ? value : NaN;
}

/* Shortest text that `parsed` reads back. */
function plain(value) {
  return value >= 1e6 || value < 1e-3 ? value.toExponential().replace("e+", "e") : String(value);
}

/* What a page without an address asks: the largest budget of the family whose loss law has the most runs. */
function firstQuestion(families) {
  const runs = (family) => Math.max(...family.losses.map((fit) => fit.rows.length), -1);
  const [family] = [...families.values()].sort((first, second) => runs(second) - runs(first)); // stable
  const used = family ? [...family.losses, ...family.scores] : [];
  const reached = used.map((fit) => fit.conventions.flops_to).find((to) => to > 0) ?? 1e20;
  return {
    family: family?.name ?? "",
    loss: "",
    mode: "compute",
    flops: Number(reached.toPrecision(3)),
    target: 80,
    params: null,
    tokens: null,
    benchmark: "",
    law: "",
    unique: null,
    device: Object.keys(DATA.devices)[0],
    devices: 8,
    utilisation: 40, // per cent; like the others a choice
  };
}

/* [question, problems] of an address such as #family=units&flops=1e20&device=A100. */
function questionAt(address, families) {
  const asked = new URLSearchParams(address.replace(/^#/, "")),
    question = firstQuestion(families),
    problems = [];
  for (const name of ["loss", "benchmark", "law"]) question[name] = asked.get(name) ?? "";
  if (families.has(asked.get("family"))) question.family = asked.get("family");
  else if (asked.has("family"))
    problems.push(`No family ${asked.get("family")} here; a fit that was added stays on its page.`);
  if (asked.get("device") in DATA.devices) question.device = asked.get("device");
  else if (asked.has("device")) problems.push(`No device ${asked.get("device")} here.`);
  for (const name of NUMBERS.filter((each) => asked.has(each))) {
    const value = accepted(name, parsed(asked.get(name)));
    if (Number.isNaN(value)) problems.push(`${name} = ${asked.get(name)}: ${wanted(name)}.`);
    else question[name] = value;
  }
  question.mode = Object.keys(MODES).find((mode) => MODES[mode].some((name) => asked.has(name))) ?? "compute";
  return [question, problems];
}

function accepted(name, value) {
  const most = name === "target" || name === "utilisation" ? 100 : Infinity;
  return value <= most && (name !== "devices" || Number.isInteger(value)) ? value : NaN;
}

function wanted(name) {
  if (name === "target" || name === "utilisation") return "a percentage between 0 and 100 is wanted";
  return name === "devices" ? "a whole number is wanted" : "a positive number is wanted, such as 1e20 or 82.3B";
}

function addressOf(question) {
  const kept = new URLSearchParams({ family: question.family });
  const put = (name, value) => value && kept.set(name, typeof value === "number" ? plain(value) : value);
  for (const name of [
    "loss",
    ...MODES[question.mode],
    "benchmark",
    "law",
    "unique",
    "device",
    "devices",
    "utilisation",
  ]) {
    put(name, question[name]);
  }
  return `#${kept}`;
}

/* The same point asked in another way, so that nothing jumps when the mode changes. */
function askedAs(mode, question, plan) {
  const asked = plan.asked,
    rounded = (found, digits) => Number(found.value.toPrecision(digits)),
    next = { ...question, mode };
  if (!asked || !isReached(asked)) return next;
  if (mode === "compute") next.flops = rounded(asked.flops, 3);
  if (mode === "model" && asked.params) Object.assign(next, { params: rounded(asked.params, 3), tokens: null });
  const score = plan.scores.find((each) => each.fit === plan.law);
  if (mode === "target" && score) next.target = Number((100 * Math.min(Math.max(score.value, 0.01), 1)).toFixed(1));
  return next;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const areNumbers = (values) => values.every((value) => typeof value === "number" && Number.isFinite(value));

/* What keeps a value from being a fit that this page can use; empty when nothing does. */
function wrongWith(value) {
  const version = "this is no fit of this version";
  if (!isObject(value)) return version;
  for (const name of ["law", "family", "measure"])
    if (typeof value[name] !== "string") return `${version}: it has no ${name}`;
  for (const name of ["params", "intervals", "conventions", "hindcast"])
    if (!isObject(value[name])) return `${version}: it has no ${name}`;
  for (const name of ["draws", "rows", "flags"])
    if (!Array.isArray(value[name])) return `${version}: it has no ${name}`;
  if (!STATUSES.includes(value.status)) return `${version}: its status is ${value.status}`;
  if (!(value.law === "loss_parametric" || REPEATS.includes(value.law) || value.law in SCORE_LAWS)) {
    return `this page has no use for the law ${value.law}`;
  }
  const names = Object.keys(value.params);
  if (!names.length) return `nothing was fitted (${value.flags.join("; ")})`;
  const rows = [Object.values(value.params), ...value.draws];
  if (!rows.every((row) => Array.isArray(row) && row.length === names.length && areNumbers(row)))
    return `${version}: its constants are no numbers`;
  const needed = value.law in SCORE_LAWS ? SCORE_LAWS[value.law].needs : TERMS,
    missing = needed.filter((name) => !names.includes(name));
  return missing.length ? `${version}: ${missing.join(", ")} missing` : "";
}

/* {fits, lines}: the fits with those of the files, which replace their equals, and what to say of each file. */
async function withFiles(fits, files) {
  const lines = [];
  for (const file of files) {
    let value = null;
    try {
      value = JSON.parse(await file.text());
    } catch {
      lines.push([
        false,
        `${file.name}: not JSON. Make a fit with python -m analysis fit --table … --out fit.json`,
      ]);
      continue;
    }
    const wrong = wrongWith(value);
    if (wrong) lines.push([false, `${file.name}: ${wrong}.`]);
    else {
      const same = (fit) => ["law", "family", "measure", "status"].every((name) => fit[name] === value[name]);
      const replaces = fits.some(same);
      fits = [...fits.filter((fit) => !same(fit)), value];
      const told = `${value.law} of ${nameOf(value.family)} (${value.status})`;
      lines.push([
        true,
        `${file.name}: ${told} ${replaces ? "replaces the one of this page" : "was added"}.`,
        value.family,
      ]);
    }
  }
  return { fits, lines };
}
