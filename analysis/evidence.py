"""Published evidence: the papers' numbers as tables, the 31 released runs as rows, printed constants as fits.

In: `analysis/published`. Out: frames and `Fit`s of the same kinds as those of our own runs, each with whose number it
is. `agreement` redoes Table 4 from the released runs and says where print and rows agree.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import compare, downstream, laws, parametric, repeats
from analysis.bootstrap import Resampling
from analysis.columns import TABLES
from analysis.fit import STATUSES, Fit
from analysis.frame import Tables
from slm.atomic import read_json

FOLDER = Path(__file__).parent / "published"
SCALE = "published"
"""Where the fits of published numbers lie below `results`."""
SPEECH, UNIGRAM, TEXT = "cuervo2024", "cuervo2024-unigram", "muennighoff2023"
SPEECH_PRINTED, TEXT_PRINTED = "cuervo2024-printed", "pythia-printed"
CORPUS_TOKENS = 10.89e9
"""Units of all corpora together (Cuervo & Marxer 2024, Table 2)."""
CURVES, CURVE_ROWS = "29 rows of the curves", 29
"""The released runs that the paper's curves hold; two longer ones of the largest model follow them."""
BENCHMARKS = {  # column of released_runs.csv -> benchmark, subset, questions (RESULTS.md of the release)
    "sblimp_macro": ("sblimp", "macro", 6300),
    "sblimp_pair": ("sblimp", "all", 6300),
    "tstorycloze": ("tstorycloze", "all", 1871),
    "sstorycloze": ("sstorycloze", "all", 1871),
}
PRINTED = {"sblimp-macro": "blimp", "tstorycloze": "tstorycloze", "sstorycloze": "sstorycloze"}
"""Measure -> column of Table 4. The paper's sBLIMP is the mean over phenomena."""
BUDGETS = (1e18, 1e19, 1e20, 1e21)
LAST_DIGIT = 0.001
"""Table 4 prints three decimals: what differs by no more than one of the last agrees with it."""
AS_PRINTED = "constants as printed: no rows, no intervals"
_TABLE5 = {SPEECH: "speech", UNIGRAM: "speech (unigram)", TEXT: "text (Muennighoff et al.)"}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A table that others printed or released."""

    rows: pd.DataFrame
    title: str
    source: str
    status: str
    """One of `fit.STATUSES`, never `own`."""
    unit: str
    note: str


def names() -> list[str]:
    """The tables that `table` knows."""
    return [*_documents(), "cuervo2024_released_runs"]


def table(name: str) -> Published:
    """A published table by its name; `ValueError` with the names there are."""
    if name == "cuervo2024_released_runs":
        strings = pd.read_csv(FOLDER / "released_runs.csv", dtype=str)
        numbers = {column: strings[column].map(float) for column in strings.columns.drop("name")}
        return Published(
            rows=strings.assign(**numbers),
            title="The 31 released runs, evaluated again",
            source="github.com/tiagoCuervo/slm_scaling @ 3357a2f5 : RESULTS.md",
            status="re-evaluated",
            unit="accuracies in per cent, tokens, FLOPs",
            note="n_total, C_6ND and the epochs are derived from the released architecture and token counts.",
        )
    if name not in (known := _documents()):
        raise ValueError(f"no published table {name!r}; there are {', '.join(names())}")
    found = known[name]
    assert found["status"] in STATUSES[1:], f"{name}: status {found['status']!r}"
    labels = {key: found[key] for key in ("title", "source", "status", "unit", "note")}
    return Published(rows=pd.DataFrame(found["rows"], columns=found["columns"]), **labels)


def _documents() -> dict[str, dict]:
    return read_json(FOLDER / "tables.json")


def tables() -> Tables:
    """The released runs as tables of a scale: columns of `columns.TABLES`, accuracies as fractions, family `SPEECH`.

    What was not released is empty: losses, curves, wall times. Errors of scores are binomial.
    """
    released = table("cuervo2024_released_runs").rows
    sizes = table("cuervo2024_parameter_counts").rows.set_index("total")
    n, d = released["n_total"].astype("int64"), released["tokens_seen"].astype("int64")
    unique = np.minimum(d, int(CORPUS_TOKENS))
    size = n.map(sizes["size"])
    labels = {"scale": SCALE, "name": released["name"], "fingerprint": "", "point": released["name"]}
    labels |= {"studies": "scaling", "family": SPEECH, "size": size, "seed": 1337}
    labels |= {"budget": released["name"].str.partition("-")[2]}
    shared = labels | {"params_total": n, "tokens": d, "flops_6n": parametric.training_flops(n, d)}
    runs = pd.DataFrame(
        shared
        | {"schedule": "", "tokenizer": "units", "unit_stream": "", "vocabulary": 502, "val_store": "", "commit": ""}
        | {"params_non_embedding": n.map(sizes["non_embedding"]), "unique_tokens": unique, "epochs": d / unique}
        | {"steps": d // released["tokens_per_update"]}
    )
    scores = pd.concat([_scores(shared, released[column] / 100, *BENCHMARKS[column]) for column in BENCHMARKS])
    frames = {"runs": runs, "scores": scores.reset_index(drop=True), "curves": pd.DataFrame(), "losses": pd.DataFrame()}
    return Tables(**{name: frame.reindex(columns=list(TABLES[name])) for name, frame in frames.items()})


def _scores(shared: dict, value: pd.Series, benchmark: str, subset: str, questions: int) -> pd.DataFrame:
    labels = {"eval": benchmark, "subset": subset, "metric": downstream.METRIC, "store": "", "chance": 0.5}
    labels |= {"decoding": "", "transcriber": "", "n": questions, "items": questions}
    return pd.DataFrame(shared | labels | {"value": value, "stderr": np.sqrt(value * (1 - value) / questions)})


def fits() -> list[Fit]:
    """The constants of Tables 4 and 5 as printed, of status published; G, a, b follow from them."""
    return [*(fit for family in _TABLE5 for fit in _loss_fits(family)), *_exponents()]


def _loss_fits(family: str) -> list[Fit]:
    """A row of Table 5 as the law of one epoch and, where it has R_N* and R_D*, the law with repeated tokens."""
    printed = table("cuervo2024_table5")
    row = printed.rows.set_index("tokens").loc[_TABLE5[family]]
    constants = {name: float(row[name]) for name in parametric.NAMES}
    stars = {name: float(row[name]) for name in ("RN_star", "RD_star") if pd.notna(row[name])}
    unit = "not stated" if family == UNIGRAM else "nats per token"
    doubt = (f"loss unit {unit}: not comparable with the losses of other tokens",) if family == UNIGRAM else ()
    labels = {"family": family, "measure": "nats_per_token", "flags": (AS_PRINTED, *doubt), "status": printed.status}
    conventions = {"N": "all parameters", "D": "training tokens", "C": "6ND", "loss": unit, "source": printed.source}
    follows = {"G, a, b": "derived from the printed constants"}
    clamps = {"clamps": "U = min(U, D), U_N = min(N, U_N), as the cited method; the paper does not say"}
    allocation = {name: float(value) for name, value in parametric.allocation(constants).items()}
    single = Fit(law=parametric.LAW, params=constants | allocation, conventions=conventions | follows, **labels)
    if not stars:
        return [single]
    return [single, Fit(law=repeats.LAW, params=constants | stars, conventions=conventions | clamps, **labels)]


def _exponents() -> list[Fit]:
    """Table 4: exponents alone, without the factor Q0 that would say how high an accuracy is."""
    printed = table("cuervo2024_table4")
    found = []
    for family, modality in ((SPEECH_PRINTED, "speech"), (TEXT_PRINTED, "text")):
        row = printed.rows.set_index("modality").loc[modality]
        for measure, column in PRINTED.items():
            conventions = {"C": "6ND", "accuracy": "raw, no chance correction", "source": printed.source}
            conventions |= {"items": f"{column} as {modality}", "cut_rule": "before saturation, rule not stated"}
            labels = {"family": family, "measure": measure, "status": printed.status, "conventions": conventions}
            found.append(Fit(law=downstream.LAW, params={"gamma": float(row[column])}, flags=(AS_PRINTED,), **labels))
    return found


def redone(count: int = 1000, seed: int = 0) -> dict[str, list[Fit]]:
    """Table 4 again, from the released runs: which rows -> the accuracy laws of every measure, of status derived.

    Intervals draw the answers of every run anew: what is asked of a printed exponent is whether the noise of the
    questions explains the difference. Families are named after their rows.
    """
    found = tables()
    scores, in_curves = found.scores, found.scores["name"].isin(found.runs["name"][:CURVE_ROWS])
    chosen = {
        CURVES: (scores[in_curves], f"{SPEECH}-curves", None),
        "31 rows": (scores, SPEECH, None),
        "rows below 1e19 FLOPs": (scores, f"{SPEECH}-small", 1e19),
    }
    resampling = Resampling(count=count, seed=seed)

    def fitted(rows: pd.DataFrame, family: str, cut: float | None) -> list[Fit]:
        named = rows.assign(family=family)
        asked = [
            downstream.fit_compute(named, family, benchmark, cut, subset, resampling)
            for benchmark, subset, _ in BENCHMARKS.values()
        ]
        return [replace(fit, status="derived") for fit in asked]

    return {label: fitted(*choice) for label, choice in chosen.items()}


def all_fits(options: laws.Options = laws.Options()) -> list[Fit]:  # noqa: B008 - frozen
    """What `fit --from published` writes: constants as printed, laws of the 31 released runs (derived), the exponents
    of the runs of the paper's curves, and what text's gains cost speech, by print and by these runs."""
    printed = fits()
    refits = [replace(fit, status="derived") for fit in laws.fit_all(tables(), [SPEECH], options)]
    again = redone(options.resampling.count, options.resampling.seed)[CURVES]
    slow = [*(fit for fit in printed if fit.family == SPEECH_PRINTED), *again]
    fast = {fit.measure: fit for fit in printed if fit.family == TEXT_PRINTED}
    ratios = [compare.ratio(fit, fast[fit.measure], options.resampling) for fit in slow if fit.measure in fast]
    return [*printed, *refits, *again, *ratios]


def agreement(again: dict[str, list[Fit]]) -> pd.DataFrame:
    """The exponents of `redone` beside those of Table 4: a row per measure and choice of rows, with the interval and
    what to make of it: `agrees` within one of the last printed digit, or `differs`, with the print inside the interval,
    where the noise of the questions explains it, or outside."""
    row = table("cuervo2024_table4").rows.set_index("modality").loc["speech"]
    found = []
    for measure in dict.fromkeys(fit.measure for fits in again.values() for fit in fits):
        printed = float(row[PRINTED.get(measure, "blimp")])  # of sBLIMP there is one print, beside both averages
        for label, fits in again.items():
            fit = next(fit for fit in fits if fit.measure == measure)
            gamma, (low, high) = fit.params["gamma"], fit.intervals.get("gamma", (np.nan, np.nan))
            beside = f", print {'inside' if low <= printed <= high else 'outside'} the interval" * bool(fit.intervals)
            word = "agrees" if abs(gamma - printed) <= LAST_DIGIT else "differs" + beside
            labels = {"measure": measure, "printed": printed, "rows": label, "on_envelope": len(fit.kept)}
            found.append(labels | {"gamma": gamma, "low": low, "high": high, "verdict": word})
    return pd.DataFrame(found)


def frontier(found: list[Fit], budgets: tuple[float, ...] = BUDGETS) -> pd.DataFrame:
    """What `loss_parametric` fits say of compute C: a row per fit and budget with G, a, b, N_opt, D_opt, tokens per
    parameter and the loss there."""
    rows = []
    for fit in (each for each in found if each.law == parametric.LAW and each.params):
        for flops in budgets:
            n, d = map(float, parametric.optimum(fit.params, flops))
            labels = {"family": fit.family, "status": fit.status, "flops": flops}
            labels |= {name: fit.params[name] for name in parametric.DERIVED}
            loss = float(parametric.frontier(fit.params, flops))
            rows.append(labels | {"N_opt": n, "D_opt": d, "tokens_per_param": d / n, "loss": loss})
    return pd.DataFrame(rows)
