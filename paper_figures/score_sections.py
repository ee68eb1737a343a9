"""What the report says of scores: a table of choices, one of answers, one per benchmark of phenomena.

In: results. Out: text and frames of strings; `report.py` turns them into HTML.
"""

import pandas as pd

from analysis.downstream import is_at_chance
from paper_figures.results import Results
from paper_figures.style import label
from paper_figures.table_benchmarks import AVERAGES, reported, with_error, with_interval

SCORINGS = {
    "accuracy_mean": "mean, whole (headline)",
    "accuracy_sum": "sum, whole",
    "accuracy_ending_mean": "mean, ending alone",
    "accuracy_ending_sum": "sum, ending alone",
}
METRICS = SCORINGS | {f"{metric}_end": f"{text.split(' (')[0]}, with the end" for metric, text in SCORINGS.items()}
MATCHES = {"containment": "contained (headline)", "exact_match": "exact match", "f1": "F1"}
Section = tuple[str, list[str], pd.DataFrame]


def tables(results: Results) -> list[Section]:
    """A section per kind of benchmark, those without rows left out."""
    made = [_choices(results), _answers(results), *_phenomena(results)]
    return [section for section in made if len(section[2])]


def _choices(results: Results) -> Section:
    text = [
        "The run of the most compute of each family, in per cent; the headline with its 95 % bootstrap interval over "
        "questions, the others with one standard error. Mean and sum are of the log-likelihood per token and per "
        "sequence; 'ending alone' scores what differs, given what precedes. The terminal end-of-document token is "
        "not counted; scores with it are in the tables. Over questions: voices of a question are averaged first, then "
        "all questions (of sBLIMP, the ZeroSpeech leaderboard's); macro: the unweighted mean over the subsets (of "
        "sBLIMP, the headline of Cuervo and Marxer). At chance: the headline is not above chance by more than two "
        "standard errors. The text topline is, of these runs, the one of text that is best on the same benchmark."
    ]
    return "Benchmarks", text, _table_of(results, SCORINGS)


def _answers(results: Results) -> Section:
    text = [
        "The run of the most compute of each family, in per cent of questions; the headline with its 95 % bootstrap "
        "interval. Contained: a right answer occurs in what was generated, on word boundaries; exact match and F1 as "
        "in SQuAD, over the accepted answers."
    ]
    return "Question answering", text, _table_of(results, MATCHES)


def _table_of(results: Results, metrics: dict[str, str]) -> pd.DataFrame:
    """A row per benchmark, average and family whose headline is the first of `metrics`, a column for each of them."""
    headlines = reported(results)
    headlines = headlines[headlines["subset"].isin(AVERAGES) & (headlines["metric"] == next(iter(metrics)))]
    several = set(headlines.loc[headlines["subset"] == "macro", "eval"])
    cells = results.scores.set_index(["name", "eval", "subset", "metric"]).sort_index()
    rows = []
    for _, row in headlines.iterrows():
        labels = {"benchmark": label(row["eval"]), "family": label(row["family"]), "run": row["name"]}
        labels["average"] = AVERAGES[row["subset"]] if row["eval"] in several else ""
        for metric, text in metrics.items():
            key = row["name"], row["scored_as"], row["subset"], metric
            found = with_error(cells.loc[key]) if key in cells.index else ""
            labels[text] = with_interval(row) if metric == row["metric"] else found
        labels |= {"questions": _counts(row), "chance": f"{100 * row['chance']:.1f}"}
        labels["text topline"] = "" if pd.isna(row["topline"]) else f"{100 * row['topline']:.1f}"
        rows.append(labels | {"headline": "at chance" if is_at_chance(row) else ""})
    return pd.DataFrame(rows)


def _counts(row: pd.Series) -> str:
    """Questions, and what there is to say about their items."""
    said = [f"{row['items']:,.0f} items"] if row["items"] != row["n"] else []
    said += [f"{row[key]:,.0f} {text}" for key, text in (("dropped", "dropped"), ("truncated", "cut")) if row[key]]
    return f"{row['n']:,.0f}" + (f" ({', '.join(said)})" if said else "")


def _phenomena(results: Results) -> list[Section]:
    """A section per benchmark that has several subsets: subsets down, families across."""
    found = reported(results)
    found = found[~found["subset"].isin(AVERAGES) & ~found["subset"].str.contains("/", regex=False)]
    sections = []
    for benchmark, group in found.groupby("eval", sort=False):
        if group["subset"].nunique() < 2:
            continue
        rows, metric = [], group["metric"].iloc[0]
        for subset, scores in group.groupby("subset", sort=True):
            least, most = scores["n"].min(), scores["n"].max()
            count = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            row = {"subset": subset.replace("_", " "), "questions": count}
            row |= {label(family): "" for family in sorted(group["family"].unique())}
            row |= {label(score["family"]): with_error(score) for _, score in scores.iterrows()}
            topline = scores["topline"].iloc[0]
            rows.append(row | {"text topline": "" if pd.isna(topline) else f"{100 * topline:.1f}"})
        text = [
            "The run of the most compute of each family, in per cent with one standard error over questions; scored by "
            f"{(METRICS | MATCHES)[metric]}. The text topline is the one of these runs that is of text and best on the "
            f"whole benchmark. Chance is {100 * group['chance'].iloc[0]:.1f}. Paradigms are in the table of scores."
        ]
        sections.append((f"By phenomenon: {label(benchmark)}", text, pd.DataFrame(rows)))
    return sections
