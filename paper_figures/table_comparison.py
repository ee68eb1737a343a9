"""The best models on the spoken benchmarks, published ones and our own largest (Cuervo & Marxer 2024, Table 3).

In: the printed table, the authors' re-evaluation, scores of our runs. Out: a table as figure and numbers.
"""

import pandas as pd
from matplotlib.figure import Figure

from analysis import evidence
from analysis.downstream import headline, largest
from paper_figures import ruled, style
from paper_figures.results import Results

PRINTED, AGAIN = "cuervo2024_table3", "cuervo2024_best_model_reevaluated"
BENCHMARKS = {"sblimp": "sBLIMP", "tstorycloze": "tStoryCloze", "sstorycloze": "sStoryCloze"}
MACRO = "*"
"""Marks means over phenomena. Of one printed row alone it is certain that it is one."""
BEST = "Cuervo & Marxer best model"
OWN = {  # benchmark -> benchmarks of our scores, and subset, that ask the same
    "sblimp": (("sblimp",), "macro"),
    "tstorycloze": (("tstorycloze", "tstorycloze-spoken"), "all"),
    "sstorycloze": (("sstorycloze", "sstorycloze-spoken"), "all"),
}


def numbers(results: Results) -> pd.DataFrame:
    """One row per model: accuracies as fractions, of ours with `_stderr`; empty: not printed, not scored.

    `sblimp_average`: macro (mean over phenomena), or `not stated`."""
    return pd.concat([_printed(), _again(), _own(results)], ignore_index=True)


def draw(results: Results) -> Figure:
    """A ruled table, a strong rule before each group."""
    rows = numbers(results)
    cells = {
        "model": rows["model"],
        "group": rows["group"],
        "N": rows["params"].fillna(""),
        "D": rows["tokens"].fillna(""),
    }
    cells |= {text: [_cell(row, name) for _, row in rows.iterrows()] for name, text in BENCHMARKS.items()}
    cells["whose number"] = rows["status"]
    strong = frozenset(rows.index[rows["status"] != rows["status"].shift()])
    return ruled.figure(ruled.Ruled(cells=pd.DataFrame(cells), names=2, strong=strong))


def caption(results: Results) -> str:
    """What the table holds."""
    rows = numbers(results)
    text = [
        f"Accuracy in per cent. {MACRO}: mean over phenomena; of the other rows the average of sBLIMP is not stated, "
        "and that of the ZeroSpeech leaderboard is over pairs, so they may not compare with the marked ones. "
        "Published: as printed. Re-evaluated: the released checkpoints, scored again by the authors."
    ]
    if results.is_published:
        return " ".join(text)
    if (rows["status"] == "own").any():
        return " ".join([*text, "Own: the run of most compute of each family, with one standard error."])
    return " ".join([*text, f"No own run at scale {results.scale} was asked these benchmarks."])


def _printed() -> pd.DataFrame:
    printed = evidence.table(PRINTED)
    average = printed.rows["model"].eq(BEST).map({True: "macro", False: "not stated"})
    return _fractions(printed.rows.assign(status=printed.status, sblimp_average=average))


def _again() -> pd.DataFrame:
    printed = evidence.table(AGAIN)
    rows = printed.rows.rename(columns={"sblimp_macro": "sblimp"}).drop(columns="sblimp_pair")
    rows["tokens"] = rows.pop("tokens_seen").map(style.amount)
    return _fractions(rows.assign(group="speech-only", params="823M", status=printed.status, sblimp_average="macro"))


def _fractions(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{name: rows[name] / 100 for name in BENCHMARKS})


def _own(results: Results) -> pd.DataFrame:
    """The largest run of each family that was asked any of these benchmarks."""
    if results.is_published:
        return pd.DataFrame()
    rows = []
    for family in sorted(results.runs["family"].unique()):
        found = {name: headline_of(results, family, *OWN[name]) for name in BENCHMARKS}
        found = {name: scores for name, scores in found.items() if len(scores)}
        if not found:
            continue
        run = largest(pd.concat(found.values()))
        labels = {"model": run["name"], "group": style.label(family), "status": "own", "sblimp_average": "macro"}
        row = labels | {"params": style.amount(run["params_total"]), "tokens": style.amount(run["tokens"])}
        for name, scores in found.items():
            of_run = scores[scores["name"] == run["name"]]
            row |= {name: of_run["value"].iloc[0], f"{name}_stderr": of_run["stderr"].iloc[0]} if len(of_run) else {}
        rows.append(row)
    return pd.DataFrame(rows)


def headline_of(results: Results, family: str, benchmarks: tuple[str, ...], subset: str) -> pd.DataFrame:
    """The headline scores of the first of several equal benchmarks that a family was asked."""
    parts = [headline(results.scores, family, benchmark, subset) for benchmark in benchmarks]
    return next((part for part in parts if len(part)), parts[0])


def _cell(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return "–"
    places = 2 if row["status"] == "re-evaluated" else 1
    error = row.get(f"{name}_stderr")
    mark = MACRO if name == "sblimp" and row["sblimp_average"] == "macro" else ""
    told = "" if error is None or pd.isna(error) else f" ± {100 * error:.1f}"
    return f"{100 * row[name]:.{places}f}{mark}{told}"
