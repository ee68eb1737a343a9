"""Fits as tables of text for people: one section per law, with the conventions that its numbers rest on.

In: fits. Out: (title, table of strings, note) per section; the command line and the report print the same ones.
"""

import numpy as np
import pandas as pd

from analysis.compare import compute_factor
from analysis.fit import Fit
from analysis.forecast import Estimate, Forecast

Section = tuple[str, pd.DataFrame, str]
COMPARISON = (
    "Per cent, the difference in points with the standard error and the 95 % percentile bootstrap interval of the "
    "paired difference over questions; voices of one question are averaged first. p is two-sided, of each row alone: "
    "of twenty rows without any difference about one falls below 0.05. Left out: items that only one run has."
)
INTERVALS = "95 % bootstrap intervals: bias-corrected percentiles, widened for few runs."
SEARCH = (
    "Objective: mean over the runs used. Gradient norm: 0 at a minimum. Condition: of the scaled Hessian; beyond 1e8 "
    "some combination of constants is hardly determined. Basins: distinct minima. Converged: share of the resamples."
)
FRONTIER = (
    "N_opt = G (C/6)^a, D_opt = (C/6)^b / G, C = 6ND; the loss is that of the optimum. Losses of different tokens do "
    "not compare."
)
FORECAST = (
    "C in FLOPs, N and D of least loss at that C under loss_parametric. Laws of a family are listed by how well they "
    "predicted the same held-out largest runs. Beyond the data: beyond the compute of the runs that the law, that of "
    "its loss or that of N and D was fitted to, whichever is farther."
)
AGREEMENT = (
    "Agrees: within 0.001 of the print; differs: the noise of the questions explains it where the print is inside the "
    "interval. Intervals draw the answers of every run anew (binomial). The print's sBLIMP is "
    "the mean over phenomena (sblimp-macro); sblimp, the mean over pairs, stands beside it. Rule of the envelope: rows "
    "whose accuracy exceeds all cheaper rows; the paper does not state its own."
)

_LAWS = {  # law -> what it says
    "loss_parametric": "Loss against parameters and tokens: L = E + A/N^α + B/D^β, N_opt = G (C/6)^a",
    "loss_repeats": "Loss with repeated tokens, in two stages: L = E + A/N′^α + B/D′^β",
    "loss_repeats_joint": "Loss with repeated tokens, jointly: L = E + A/N′^α + B/D′^β",
    "loss_envelope": "Least loss against compute, on the lower hull: L = L0 · C^-γ",
    "loss_envelope_bins": "Least loss against compute, in bins of compute: L = L0 · C^-γ",
    "loss_envelope_offset": "Least loss against compute, with an offset: L = E + K · C^-γ",
    "isoflop_parabola": "Best size and tokens of each budget, by parabolas: N* = N0 · C^a, D* = D0 · C^b",
    "isoflop_akima": "Best size and tokens of each budget, by Akima's interpolation: N* = N0 · C^a, D* = D0 · C^b",
    "accuracy_compute": "Best accuracy against compute: Q = Q0 · C^γ",
    "accuracy_loss": "Accuracy against loss: Q = intercept + slope · L",
    "accuracy_sigmoid": "Accuracy against loss, a sigmoid from chance to a ceiling, steepest at midpoint",
    "accuracy_error": "Errors beyond chance against compute: (1 − Q)/(1 − chance) = K · C^-γ",
    "compute_ratio": "What text's gains cost speech: f times the compute for text is f^ratio times for speech",
}
_SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "RN_star": "R_N*", "RD_star": "R_D*"}
_EXAMPLE = 10.0
"""Factor of text's compute that the table of ratios spells out."""


def number(value: float) -> str:
    """Three significant digits, in powers of ten only where the value is far from one."""
    return (f"{value:.0f}" if 1e3 <= abs(value) < 1e4 else f"{value:.3g}").replace("-", "−")


def with_interval(fit: Fit, name: str) -> str:
    """`value [low, high]` of a parameter, empty where nothing was fitted."""
    if name not in fit.params:
        return ""
    interval = fit.intervals.get(name)
    return number(fit.params[name]) + (f" [{number(interval[0])}, {number(interval[1])}]" if interval else "")


def comparison(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `paired.table` as text."""
    shown = [
        {
            "benchmark": row.eval,
            "subset": row.subset,
            "metric": row.metric,
            "first": f"{100 * row.first:.1f}",
            "second": f"{100 * row.second:.1f}",
            "difference": _difference(row.difference, row.stderr, row.low, row.high),
            "p": f"{row.p:.2g}",
            "test": row.test,
            "questions": str(row.n),
            "left out": "" if pd.isna(row.left_out) else str(int(row.left_out)),
            "flags": "",
        }
        for row in rows.itertuples(index=False)
    ]
    return pd.DataFrame(shown)


def _difference(value: float, error: float, low: float, high: float) -> str:
    """In points; bare where one question allows no error."""
    shown = f"{100 * value:+.1f}"
    return shown if pd.isna(error) else f"{shown} ± {100 * error:.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def sections(fits: list[Fit]) -> list[Section]:
    """The fitted laws, in the order of `_LAWS`, each followed by how it was searched for; laws without a fit are left
    out."""
    found: list[Section] = []
    for law, title in _LAWS.items():
        of_law = [fit for fit in fits if fit.law == law]
        if of_law:
            found.append((title, _constants(of_law), note(of_law)))
        if searched := [fit for fit in of_law if fit.gradient_norm is not None]:
            found.append((f"Search behind it ({law})", _searches(searched), SEARCH))
    return found


def _constants(fits: list[Fit]) -> pd.DataFrame:
    hidden = {"b"} if fits[0].law == "loss_parametric" else set()  # there it is 1 - a
    complete = sorted(fits, key=lambda fit: -len(fit.params))  # of some laws a printed fit has but one constant
    names = [name for name in dict.fromkeys(name for fit in complete for name in fit.params) if name not in hidden]
    rows = []
    for fit in fits:
        row = _labels(fit) | {_SYMBOLS.get(name, name): with_interval(fit, name) for name in names}
        if fit.law == "compute_ratio":
            row[f"f = {_EXAMPLE:.0f} needs"] = _factor(fit)
        row |= {"runs": f"{len(fit.kept)} of {len(fit.rows)}" if fit.kept else str(len(fit.rows) or "")}
        row |= {"objective": _cell(fit.objective), "hindcast": hindcast(fit), "status": fit.status}
        rows.append(row | {"flags": "; ".join(fit.flags)})
    shown = pd.DataFrame(rows)
    empty = [name for name in ("objective", "hindcast", "runs") if (shown[name] == "").all()]
    empty += ["objective"] if any(fit.gradient_norm is not None for fit in fits) else []  # told with the search
    return shown.drop(columns=empty + (["status"] if (shown["status"] == "own").all() else []))


def _labels(fit: Fit) -> dict[str, str]:
    return {"family": fit.family} | ({} if fit.law.startswith(("loss_", "isoflop_")) else {"benchmark": fit.measure})


def _searches(fits: list[Fit]) -> pd.DataFrame:
    """Whether the constants are a minimum, and of how many."""
    rows = [
        _labels(fit)
        | {
            "objective": _cell(fit.objective),
            "gradient norm": _cell(fit.gradient_norm),
            "condition": _cell(fit.condition),
            "basins": _cell(fit.basins),
            "converged": "" if fit.converged_fraction is None else f"{fit.converged_fraction:.1%}",
            "flags": "",
        }
        for fit in fits
    ]
    return pd.DataFrame(rows)


def hindcast(fit: Fit) -> str:
    """How far off the law, fitted to small budgets, is on the large ones; empty where it was not tried."""
    if not fit.hindcast:
        return ""
    unit = "%" if fit.hindcast["unit"] == "natural logarithm" else "points"
    error = number(100 * fit.hindcast["root_mean_square"])
    return f"{error} {unit} [{fit.hindcast['held_out']} runs, {fit.hindcast['decades']:.1f} decades]"


def _factor(fit: Fit) -> str:
    """f′ of f = _EXAMPLE, and its interval."""
    if not fit.params:
        return ""
    ends = fit.intervals.get("ratio")
    text = "×" + number(float(compute_factor(fit.params["ratio"], _EXAMPLE)))
    return text + (f" [{', '.join(number(float(compute_factor(end, _EXAMPLE))) for end in ends)}]" if ends else "")


def _cell(value: float | None) -> str:
    return "" if value is None else number(value)


def note(fits: list[Fit]) -> str:
    """The conventions that all of the fits share; of each status apart, where numbers of several stand together."""
    statuses = dict.fromkeys(fit.status for fit in fits)
    shared = {status: _shared([fit for fit in fits if fit.status == status]) for status in statuses}
    parts = [text if len(statuses) == 1 else f"of {status} fits, {text}" for status, text in shared.items() if text]
    intervals = INTERVALS if any(fit.intervals for fit in fits) else "No intervals."
    return intervals + (f" Conventions: {'; '.join(parts)}." if parts else "")


def _shared(fits: list[Fit]) -> str:
    shared = dict(fits[0].conventions)
    for fit in fits[1:]:
        shared = {key: value for key, value in shared.items() if fit.conventions.get(key, "") == value}
    return ", ".join(f"{key} = {_told(value)}" for key, value in shared.items() if value is not None)


def _told(value: str | float) -> str:
    return number(value) if isinstance(value, float) else str(value)


def frontier(rows: pd.DataFrame) -> Section:
    """The rows of `evidence.frontier` as text."""
    shown = [
        {"family": row.family, "C": number(row.flops), "G": number(row.G), "a": f"{row.a:.4f}", "b": f"{row.b:.4f}"}
        | {"N_opt": number(row.N_opt), "D_opt": number(row.D_opt), "D/N": number(row.tokens_per_param)}
        | {"loss": f"{row.loss:.4f}", "status": f"derived from {row.status} constants", "flags": ""}
        for row in rows.itertuples(index=False)
    ]
    return "The best allocation of compute and its loss", pd.DataFrame(shown), FRONTIER


def agreement(rows: pd.DataFrame) -> Section:
    """The rows of `evidence.agreement` as text."""
    shown = [
        {
            "benchmark": row.measure,
            "printed γ": f"{row.printed:.3f}",
            "rows": row.rows,
            "on envelope": f"{row.on_envelope}",
        }
        | {"γ again": f"{row.gamma:.4f}" + _between(row.low, row.high), "verdict": row.verdict, "flags": ""}
        for row in rows.itertuples(index=False)
    ]
    return (
        "Table 4 (published) beside the same exponents from the released runs (derived)",
        pd.DataFrame(shown),
        AGREEMENT,
    )


def _between(low: float, high: float) -> str:
    return "" if pd.isna(low) else f" [{low:.4f}, {high:.4f}]"


def forecasts(rows: list[Forecast]) -> Section:
    """Forecasts of one target, a row per law."""
    shown = [
        {"family": row.family, "law": " of ".join(filter(None, (row.law, row.loss_law))), "C": _estimate(row.flops)}
        | {"N": _estimate(row.params_total), "D": _estimate(row.tokens), "D/N": _cell(row.tokens_per_param)}
        | {"beyond the data": "" if row.decades is None else f"{row.decades:+.1f} decades".replace("-", "−")}
        | {"hindcast": "" if row.held_out_error is None else f"{number(100 * row.held_out_error)} points"}
        | {"flags": "; ".join(row.warnings)}
        for row in rows
    ]
    title = f"{rows[0].target:.1%} on {rows[0].measure}: what it takes"
    return title, pd.DataFrame(shown), FORECAST


def promise(row: Forecast) -> str:
    """A forecast in a sentence."""
    if row.flops is None:
        return f"{row.family}: no compute follows for {row.target:.1%} on {row.measure}, which guessing reaches."
    what = f"{row.family} reaches {row.target:.1%} on {row.measure}"
    if not np.isfinite(row.flops.value):
        return f"{row.family} never reaches {row.target:.1%} on {row.measure} under {row.law}."
    sizes = ""
    if row.params_total and row.tokens:
        sizes = f", N = {_estimate(row.params_total)} and D = {_estimate(row.tokens)}"
    return f"{what} with {_estimate(row.flops)} FLOPs{sizes}, says {row.law}."


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return _amount(found.value)
    return f"{_amount(found.value)} [{_amount(found.low)}, {_amount(found.high)}]"


def _amount(value: float) -> str:
    return number(value) if np.isfinite(value) else "never"
