/* The page: controls to a question, its plan to numbers, cautions, charts and tables. Text enters as text, never as
   HTML. */
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
let fits = DATA.fits,
  families = byFamily(fits),
  question,
  plan,
  scheduled = false;

/* An element with attributes and children; strings become text. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

const mark = (status) => element("span", { class: "mark" }, status);

/* Gives a select its options, [value, text] each, and the chosen one, or the first where that is none of them. */
function fillSelect(id, options, chosen) {
  at(id).replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  at(id).value = options.some(([value]) => value === chosen) ? chosen : (options[0]?.[0] ?? "");
}

/* Sets the controls to the question; what is being typed stays as it is typed. */
function showQuestion() {
  const named = (names) => [...names].map((name) => [name, nameOf(name)]);
  fillSelect("family", named(families.keys()), question.family);
  fillSelect("device", named(Object.keys(DATA.devices)), question.device);
  if (families.has(question.family)) showLaws(families.get(question.family), named);
  for (const radio of document.getElementsByName("mode")) radio.checked = radio.value === question.mode;
  for (const part of document.querySelectorAll("[data-mode]")) part.hidden = part.dataset.mode !== question.mode;
  for (const name of NUMBERS) {
    if (document.activeElement === at(name)) continue;
    at(name).value = question[name] === null ? "" : plain(question[name]);
    at(name).removeAttribute("aria-invalid");
  }
  at("utilisation-shown").textContent = `${question.utilisation}${THIN}%`;
  showSliders();
}

/* The choices that the chosen family leaves; a benchmark that it lacks gives way to its first. */
function showLaws(family, named) {
  const told = (law, fit) => `${law} (${fit.status})`,
    loss = lossLaw(family, question);
  const losses = family.losses.map((fit) => [keyOf(fit), told(units(fit.measure), fit)]);
  fillSelect("loss", losses, question.loss);
  const benchmarks = benchmarksOf(family);
  if (!benchmarks.includes(question.benchmark)) question.benchmark = benchmarks[0] ?? "";
  fillSelect("benchmark", named(benchmarks), question.benchmark);
  const laws = scoreLaws(family, question.benchmark, loss).map((fit) => [
    scoreKey(fit),
    told(SCORE_LAWS[fit.law].title, fit),
  ]);
  const law = scoreLaw(family, question, loss);
  fillSelect("law", laws, law && scoreKey(law));
  at("loss-choice").hidden = losses.length < 2;
  at("benchmark-choice").hidden = !benchmarks.length;
}

/* The slider of compute spans the runs of all families, and what is asked. */
function showSliders() {
  const ends = fits.flatMap((fit) => [fit.conventions.flops_from, fit.conventions.flops_to]);
  const known = ends.filter((flops) => flops > 0).map(Math.log10),
    asked = Math.log10(question.flops),
    slider = at("flops-slider");
  slider.min = Math.floor(Math.min(Math.min(...known, 17) - 1, asked));
  slider.max = Math.ceil(Math.max(Math.max(...known, 21) + 3, asked));
  if (document.activeElement !== slider) slider.value = asked;
  if (document.activeElement !== at("target-slider")) at("target-slider").value = question.target;
  slider.setAttribute("aria-valuetext", `${power(question.flops)} FLOPs`);
}

/* Changes the question by one control; a number that is none leaves it as it was and says so. */
function change(control) {
  const name = control.id || control.name;
  at("wrong").textContent = "";
  if (name === "file") return;
  if (name === "mode") question = askedAs(control.value, question, plan);
  else if (name === "flops-slider") question.flops = Number((10 ** Number(control.value)).toPrecision(3));
  else if (name === "target-slider") question.target = Math.max(Number(control.value), 0.1);
  else if (NUMBERS.includes(name)) {
    const isEmpty = OPTIONAL.includes(name) && !control.value.trim();
    const value = isEmpty ? null : accepted(name, parsed(control.value));
    control.toggleAttribute("aria-invalid", false);
    if (Number.isNaN(value)) {
      control.setAttribute("aria-invalid", "true");
      at("wrong").textContent = `${control.labels[0].textContent.split(":")[0]}: ${wanted(name)}.`;
      return;
    }
    question[name] = value;
  } else question[name] = control.value;
  if (name === "family") question.loss = question.law = "";
  history.replaceState(null, "", addressOf(question));
  schedule();
}

function schedule() {
  if (!scheduled) requestAnimationFrame(render);
  scheduled = true;
}

function card(id, title, found, shown, ...notes) {
  const value = element("data", { id, value: String(found.value) }, shown(found.value));
  const small = [range(found, shown), ...notes].filter((note) => note).map((note) => element("small", {}, note));
  return element("div", {}, element("dt", {}, ...[title].flat()), element("dd", {}, value, ...small));
}

/* Hours of one device at its peak rate times the utilisation. */
function deviceHours(flops) {
  const rate = DATA.devices[question.device] * (question.utilisation / 100) * 3600;
  const { value, low, high } = flops;
  return low === null ? given(value / rate) : { value: value / rate, low: low / rate, high: high / rate };
}

const hoursShown = (hours) => (hours < 1 ? duration(hours * 3600) : count(hours));

/* The numbers of the plan, each with its interval. */
function cards() {
  const { asked, loss, fresh, repeats, epochs } = plan,
    made = [];
  if (!asked || !isReached(asked)) return made;
  const origin = (found) => (found.given ? "as given" : "");
  made.push(card("out-flops", "Compute C, FLOPs", asked.flops, power, origin(asked.flops)));
  if (loss) {
    made.push(card("out-params", "Parameters N", asked.params, count, origin(asked.params)));
    made.push(card("out-tokens", "Training tokens D", asked.tokens, count, origin(asked.tokens)));
    made.push(card("out-ratio", "Tokens per parameter", asked.ratio, count));
    if (epochs) made.push(card("out-epochs", "Epochs D / U", given(epochs), count));
    const note = repeats ? `${nats(fresh.value)} on fresh tokens` : "";
    made.push(
      card("out-loss", [`Loss, ${lossUnit(loss)} `, mark(plan.lossFit.status)], plan.nats, nats, note),
    );
  }
  const hours = deviceHours(asked.flops),
    wall = duration((hours.value * 3600) / question.devices);
  const days = hours.value >= 1 ? `${count(hours.value / 24)} GPU-days` : "";
  const devices = question.devices === 1 ? "one device" : `${count(question.devices)} devices`;
  made.push(
    card(
      "out-hours",
      `${hours.value < 1 ? "GPU time" : "GPU-hours"}, ${question.device}`,
      hours,
      hoursShown,
      days,
      `${wall} on ${devices}`,
    ),
  );
  return made;
}

/* A table with its heading; `chosen` is the row to set off, if any. */
function table(heading, titles, rows, note, chosen = -1) {
  const head = element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)));
  const body = rows.map((cells, i) => element("tr", i === chosen ? { class: "chosen" } : {}, ...cells));
  const made = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  return [
    element("h2", {}, heading),
    element("div", { class: "wide" }, made),
    ...(note ? [element("p", { class: "note" }, note)] : []),
  ];
}

const cell = (...children) => element("td", {}, ...children);
const rowHead = (...children) => element("th", { scope: "row" }, ...children);

/* A number with its interval below; a dash for none. */
function valueCell(found, shown, ...more) {
  if (!found) return cell("\u2013");
  const small = range(found, shown);
  return element("td", { class: "number" }, shown(found.value), small ? element("small", {}, small) : "", ...more);
}

/* A score with its interval below, and the law that it is from where that is another one than asked. */
function scoreCell(score, named) {
  if (!score) return cell("\u2013");
  return element("td", { class: "number" }, scoreShown(score), element("small", {}, scoreRange(score)), named);
}

function scoreTable() {
  if (!plan.scores.length) return [];
  const laws = Object.keys(SCORE_LAWS).filter((law) => plan.scores.some((score) => score.fit.law === law));
  const rows = [...new Set(plan.scores.map((score) => score.benchmark))].map((benchmark) => {
    const scores = plan.scores.filter((score) => score.benchmark === benchmark),
      { chance } = scores[0];
    const cells = laws.map((law) => {
      const found = scores.filter((score) => score.fit.law === law);
      if (!found.length) return cell("\u2013");
      return cell(
        ...found.map((score) =>
          element(
            "div",
            { "data-score": `${benchmark}.${scoreKey(score.fit)}`, "data-value": score.value },
            `${scoreShown(score)} `,
            mark(score.fit.status),
            element("small", {}, scoreRange(score)),
          ),
        ),
      );
    });
    return [rowHead(nameOf(benchmark)), cell(chance === null ? "\u2013" : percent(chance)), ...cells];
  });
  return table("Scores", ["Benchmark", "Chance", ...laws.map((law) => SCORE_LAWS[law].title)], rows, "");
}

/* The same question to every family, with what each answer rests on; where one cannot answer, its cells are empty. */
function familyTable() {
  const fitted = [...families.values()].filter((family) => statusesOf(family).length);
  if (fitted.length < 2) return [];
  const rows = fitted.map((family) => {
    const other = family === plan.family ? plan : planOf(family, { ...question, loss: "" }, [question.benchmark]);
    const { asked, law } = other,
      reached = asked && isReached(asked);
    const score = other.scores.find((each) => each.fit === law),
      named = law && law.law !== plan.law?.law ? element("small", {}, SCORE_LAWS[law.law].title) : "";
    const used = [other.loss, score?.fit].filter((fit) => fit);
    const cautions = shortCautions(other, score, used).join("; ");
    const marks = statusesOf(family).flatMap((status) => [mark(status), " "]);
    return [
      rowHead(`${nameOf(family.name)} `, ...marks, element("small", { class: "caution" }, cautions)),
      valueCell(reached && asked.flops, power),
      valueCell(reached && asked.params, count),
      valueCell(reached && asked.tokens, count),
      valueCell(other.nats, nats),
      scoreCell(score, named),
      valueCell(reached && deviceHours(asked.flops), hoursShown),
    ];
  });
  const scored = question.benchmark ? nameOf(question.benchmark) : "Score";
  const titles = ["Family", "C, FLOPs", "N", "D", "Loss", scored, "GPU-hours"];
  return table(
    "Every family, asked the same",
    titles,
    rows,
    "Losses of families with different tokens do not compare; scores do. Beyond and below: the runs behind the laws. " +
      "U ignored: no law of repeated data. Flagged: see the laws of that family.",
    fitted.indexOf(plan.family),
  );
}

const SYMBOLS = { alpha: "\u03b1", beta: "\u03b2", gamma: "\u03b3", RN_star: "R_N*", RD_star: "R_D*" };

/* The laws behind the page for this family, with what was said of them when they were fitted. */
function lawTable() {
  const { losses, repeats, scores, unfitted } = plan.family,
    formulas = { loss_parametric: "L = E + A/N^\u03b1 + B/D^\u03b2" };
  const rows = [...losses, ...repeats, ...scores, ...unfitted].map((fit) => {
    const constants = Object.entries(fit.params).map(([name, value]) => {
      const pair = fit.intervals[name],
        shown = pair ? ` [${constant(pair[0])}, ${constant(pair[1])}]` : "";
      return element("div", { class: "number" }, `${SYMBOLS[name] ?? name} ${constant(value)}${shown}`);
    });
    const law = SCORE_LAWS[fit.law]?.title ?? (REPEATS.includes(fit.law) ? "loss with repeated tokens" : "loss");
    const formula = SCORE_LAWS[fit.law]?.formula ?? formulas[fit.law] ?? "the same in N\u2032, D\u2032";
    return [
      rowHead(law, element("small", {}, formula)),
      cell(nameOf(fit.measure), " ", mark(fit.status)),
      cell(...constants),
      cell(fit.rows.length ? String(fit.rows.length) : "\u2013"),
      cell(hindcast(fit)),
      element("td", { class: "words" }, fit.flags.join("; ") || "\u2013"),
    ];
  });
  return table(
    "Laws of this family",
    ["Law", "Of", "Constants", "Runs", "Hindcast", "Flags"],
    rows,
    "Hindcast: the error of the law fitted without the upper third of the decades of compute, on the runs there.",
  );
}

function hindcast({ hindcast: found }) {
  if (!(found.root_mean_square >= 0)) return "\u2013";
  const error = 100 * found.root_mean_square,
    unit = found.unit === "fraction" ? "points" : "%";
  const runs = `${found.held_out} run${found.held_out === 1 ? "" : "s"} over ${found.decades.toFixed(1)} decades`;
  return `${error.toPrecision(2)} ${unit}, ${runs}`;
}

/* Replaced only where they changed: readers of screens hear every replacement. */
function showCautions(texts) {
  const shown = [...at("cautions").querySelectorAll("li")].map((item) => item.textContent);
  if (texts.join() === shown.join()) return;
  const list = element("ul", {}, ...texts.map((text) => element("li", {}, text)));
  at("cautions").replaceChildren(...(texts.length ? [list] : []));
}

/* How a law's curve looks. */
function swatch(law) {
  const made = document.createElementNS(at("score-chart").namespaceURI, "svg");
  made.setAttribute("viewBox", "0 0 30 8");
  made.setAttribute("aria-hidden", "true");
  drawn(made, "path", { d: "M0 4H30", class: `curve ${law}`, "stroke-dasharray": DASHES[law] });
  return made;
}

function drawCharts() {
  const { family, loss } = plan,
    laws = family.scores.length ? scoreLaws(family, question.benchmark, loss) : [];
  at("loss-figure").hidden = !loss;
  at("score-figure").hidden = !laws.length;
  if (loss) at("loss-caption").textContent = drawLoss(at("loss-chart"), plan);
  if (!laws.length) return;
  at("score-caption").textContent = drawScores(at("score-chart"), plan);
  const items = laws.map((fit) =>
    element("span", {}, swatch(fit.law), `${SCORE_LAWS[fit.law].title} `, mark(fit.status)),
  );
  at("score-legend").replaceChildren(...items);
}

function render() {
  scheduled = false;
  if (!families.has(question.family)) question.family = families.keys().next().value ?? "";
  showQuestion();
  if (!families.size) {
    at("cautions").replaceChildren(element("p", {}, "No fitted law is on this page yet: add a fit."));
    at("loss-figure").hidden = at("score-figure").hidden = true;
    return;
  }
  plan = planOf(families.get(question.family), question);
  at("status").replaceChildren(
    ...(statusesOf(plan.family).length ? statusesOf(plan.family) : ["not fitted"]).flatMap((status) => [
      mark(status),
      " ",
    ]),
  );
  at("numbers").replaceChildren(element("dl", { class: "cards" }, ...cards()));
  showCautions(cautionsOf(plan));
  at("scores").replaceChildren(...scoreTable());
  at("families").replaceChildren(...familyTable());
  at("laws").replaceChildren(...lawTable());
  const [counted, unit] = conventionsOf(plan);
  at("counted").textContent = counted;
  at("loss-unit").textContent = unit;
  drawCharts();
}

async function load(files) {
  const found = await withFiles(fits, files);
  fits = found.fits;
  families = byFamily(fits);
  at("loaded").replaceChildren(
    ...found.lines.map(([isGood, text]) =>
      element("span", { class: isGood ? "hint" : "wrong" }, text, element("br")),
    ),
  );
  const added = found.lines
    .filter(([isGood]) => isGood)
    .map(([, , family]) => family)
    .filter((name) => families.has(name));
  if (added.length) question = { ...question, family: added.at(-1), loss: "", law: "" };
  schedule();
}

function readAddress() {
  const [asked, problems] = questionAt(location.hash, families);
  question = asked;
  at("wrong").textContent = problems.join(" ");
  render();
}

for (const form of [at("question"), at("machine")]) {
  form.addEventListener("input", (event) => change(event.target));
  form.addEventListener("focusout", schedule);
  form.addEventListener("submit", (event) => event.preventDefault());
}
at("file").addEventListener("change", (event) => load([...event.target.files]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  load([...event.dataTransfer.files]);
});
addEventListener("hashchange", readAddress);
addEventListener("resize", schedule);
readAddress();
