"""Question: does interleaving carry to speech what was only ever written?

In: runs of the study interleaved and their answers to facts that occur in text alone. Out: a panel per direction,
accuracy against interleaved tokens, a line per size and one of runs that start from the text-to-token model, the two
controls at the largest amount. The other figures of the study ask this file for its runs and accuracies.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis import laws
from analysis.downstream import METRIC, chance, is_at_chance
from paper_figures import style
from paper_figures.results import Results

STUDY, AMOUNTS, FACTS = "interleaved", "interleaved", "facts"
"""The study; its family that differs by the amount of interleaved tokens alone; its questions."""
SPEAKER = "from-speaker"
"""Family of the runs that start from the text-to-token model, with and without interleaved tokens, in its size."""
ENDING = "accuracy_ending_mean"
SCORED = (
    "Accuracy by log-likelihood per token of the ending given its prompt: over the whole sequence a prompt in the "
    "other modality would count as well, in tokens of another kind."
)
INTERVALS = "95 % bootstraps over the questions asked of one run, not over seeds"
DIRECTIONS = {"TT": "T→T", "TS": "T→S", "ST": "S→T", "SS": "S→S"}
"""Form of a benchmark -> of what prompt and answer: T text, S speech."""
CONTROLS = {
    "facts-apart": ("D", "as much interleaved, but no facts"),
    "base-longer": ("s", "as many tokens, none interleaved"),
}
"""Family -> marker, and what it has instead of the largest amount."""
_SIZES = (("o", "-"), ("^", (0, (4, 1.5))), ("v", (0, (1, 1))))
_LABELS = ["status", "family", "name", "size", "params_total", "tokens", "interleaved_tokens"]
_SCORE = ["metric", "value", "low", "high", "stderr", "n", "items", "chance"]


def members(results: Results) -> pd.DataFrame:
    """The study's finished runs, one seed of each point, small sizes and little interleaving first."""
    if results.is_published:
        return results.runs.iloc[:0]
    order = ["params_total", "interleaved_tokens", "tokens", "name"]
    return laws.one_seed(results.members(STUDY)).sort_values(order).reset_index(drop=True)


def at_last_size(runs: pd.DataFrame) -> pd.DataFrame:
    """Those of the size that the ablations have: the largest with amounts of interleaved tokens, if any has them.

    By its label, as the vocabulary of other tokens changes the number of parameters.
    """
    amounts = runs[runs["family"] == AMOUNTS]
    sized = (amounts if len(amounts) else runs).sort_values("params_total")
    return runs[runs["size"].isin(sized["size"].tail(1))]


def asked(results: Results, runs: pd.DataFrame, *measures: str) -> pd.DataFrame:
    """Accuracy of the runs over all questions of benchmarks: a row per run, `measure` and `form`, with its interval.

    By `ENDING`; by `METRIC` where items have no prompt. A benchmark of text tokens alone is one of form T or TT.
    """
    scores = results.scores[results.scores["name"].isin(runs["name"]) & (results.scores["subset"] == "all")]
    scores = scores[scores["metric"].isin([ENDING, METRIC])].sort_values(["metric", "name", "eval"])  # ENDING is first
    scores = scores.drop_duplicates(["name", "eval"])
    names = scores["eval"].astype(str).str.extract(r"^(?P<measure>.+?)(?:-(?P<form>[ST]{1,2}))?$")
    plain = pd.Series(np.where(scores["metric"] == ENDING, "TT", "T"), index=scores.index)
    rows = scores.assign(measure=names["measure"], form=names["form"].fillna(plain), status=results.status)
    rows = rows[rows["measure"].isin(measures)]
    rows["chance"] = [chance(row) for _, row in rows.iterrows()]
    rows = rows.merge(runs[["name", "interleaved_tokens"]], on="name")
    rank = {name: place for place, name in enumerate(runs["name"])}
    rows = rows.sort_values("name", key=lambda names: names.map(rank), kind="stable")
    return rows[[*_LABELS, "measure", "form", *_SCORE]].reset_index(drop=True)


def numbers(results: Results) -> pd.DataFrame:
    """One row per run and direction on the facts: `kind` amount, or control."""
    runs = members(results)
    rows = asked(results, runs[runs["family"].isin([AMOUNTS, SPEAKER, *CONTROLS])], FACTS)
    rows = rows[rows["form"].isin(list(DIRECTIONS))]
    if rows.empty:
        raise results.nothing(f"no run of study {STUDY} that was asked for facts")
    kind = rows["family"].map(lambda family: "control" if family in CONTROLS else "amount")
    return rows.assign(kind=kind).reset_index(drop=True)


def draw(results: Results) -> Figure:
    """Accuracy with 95 % intervals, dots at chance; every panel has its own axis of accuracy, from zero."""
    rows = numbers(results)
    forms = [form for form in DIRECTIONS if form in set(rows["form"])]
    looks = size_lines(rows)
    most = max(rows["interleaved_tokens"].max(), 1)
    figure, panels = style.wrapped(len(forms), 2.3)
    for axes, form in zip(panels, forms, strict=True):
        chosen = rows[rows["form"] == form]
        lines(axes, chosen[chosen["kind"] == "amount"], looks, most)
        for place, family in enumerate(CONTROLS):
            control = chosen[chosen["family"] == family]
            bars(axes, most * (1.12 + 0.1 * place) + 0 * control["value"], control, **_control(family))
        amounts_axis(axes, most)
        style.accuracy_axis(axes, chosen["chance"].iloc[0])
        axes.set_ylim(bottom=0)
        axes.set_title(f"facts, {DIRECTIONS[form]}")
    figure.legend(handles=_entries(rows, looks), loc="outside lower center", ncols=4)
    return figure


def lines(axes: Axes, rows: pd.DataFrame, looks: dict[str, dict], most: float) -> None:
    """Values against interleaved tokens, a line per size, moved a little so that intervals do not hide each other."""
    for place, (size, look) in enumerate(looks.items()):
        line = rows[rows["size"] == size]
        shift = 0.02 * most * (place - (len(looks) - 1) / 2)
        bars(axes, line["interleaved_tokens"] + shift, line, **look)


def bars(axes: Axes, places: pd.Series, rows: pd.DataFrame, **look: object) -> None:
    """`value` of the rows with its interval; where none was recorded, with 1.96 standard errors."""
    margin = 1.96 * rows["stderr"]
    low = rows["low"].fillna(rows["value"] - margin).fillna(rows["value"])
    high = rows["high"].fillna(rows["value"] + margin).fillna(rows["value"])
    ends = np.array([rows["value"] - low, high - rows["value"]]).clip(0)
    axes.errorbar(places, rows["value"], ends, elinewidth=0.7, capsize=1.5, zorder=3, **look)


def amounts_axis(axes: Axes, most: float) -> None:
    """Interleaved tokens from none, on a linear axis."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.amount(value)))
    axes.set_xlim(left=-0.06 * most)
    axes.set_xlabel("interleaved tokens")


def size_lines(rows: pd.DataFrame) -> dict[str, dict]:
    """Size -> options of its line, small ones first."""
    sizes = list(dict.fromkeys(rows.sort_values("params_total")["size"]))
    colours = style.shades(AMOUNTS, len(sizes))
    looks = [_SIZES[place % len(_SIZES)] for place in range(len(sizes))]
    return {
        size: {"color": colour, "marker": marker, "linestyle": dash, "markersize": 3.6}
        for size, colour, (marker, dash) in zip(sizes, colours, looks, strict=True)
    }


def caption(results: Results) -> str:
    """What the figure shows, in numbers, and what the intervals are over."""
    rows = numbers(results)
    counts = " or ".join(f"{count:,}" for count in sorted(rows["n"].unique()))
    levels = " or ".join(f"{100 * level:.1f} %" for level in sorted(rows["chance"].unique()))
    text = [
        f"Questions about facts that were only ever written, but for words that interleaved documents hold in speech "
        f"tokens of a model: from text (T) or speech (S) to text or speech. {counts} questions, chance {levels} "
        f"(dots). {SCORED} Bars: {INTERVALS}."
    ]
    amounts = rows[rows["kind"] == "amount"]
    for form in DIRECTIONS:
        for _, line in amounts[amounts["form"] == form].groupby("size", sort=False):
            text.append(_growth(form, line))
    for family, (_, instead) in CONTROLS.items():
        for row in rows[(rows["family"] == family) & (rows["form"] == "SS")].itertuples():
            text.append(f"Control, at the right: {instead}, S→S {_per_cent(row)}.")
    return " ".join(text)


def difference(row: pd.Series, other: pd.Series) -> tuple[float, float]:
    """How far `row` is above `other`, and 1.96 standard errors of it, the two taken as independent."""
    return float(row["value"] - other["value"]), 1.96 * float(np.hypot(row["stderr"], other["stderr"]))


def _growth(form: str, line: pd.DataFrame) -> str:
    """From the smallest to the largest amount of one size."""
    ordered = line.sort_values("interleaved_tokens")
    first, last = ordered.iloc[0], ordered.iloc[-1]
    start = ", from the text-to-token model" if last["family"] == SPEAKER else ""
    told = f"{DIRECTIONS[form]}, {style.amount(last['params_total'])} parameters{start}: "
    end = f"{_per_cent(last)} at {style.amount(last['interleaved_tokens'])}"
    end += ", not above chance by two standard errors" if is_at_chance(last) else ""
    if len(line) == 1:
        return f"{told}{end}."
    gain, margin = difference(last, first)
    start = f"{_per_cent(first)} at {style.amount(first['interleaved_tokens'])} interleaved tokens, "
    return f"{told}{start}{end} ({100 * gain:+.1f} ± {100 * margin:.1f} points, 95 %, unpaired)."


def _per_cent(row) -> str:
    interval = "" if pd.isna(row.low) else f" [{100 * row.low:.1f}, {100 * row.high:.1f}]"
    return f"{100 * row.value:.1f} %{interval}"


def _control(family: str) -> dict:
    return {"marker": CONTROLS[family][0], "color": style.INK, "markerfacecolor": "white", "linestyle": "", "ms": 4.0}


def sized(rows: pd.DataFrame, looks: dict[str, dict]) -> list[Line2D]:
    """Legend entries of the sizes."""
    told = rows.drop_duplicates("size").set_index("size")
    starts = {size: ", from text to tokens" if told["family"][size] == SPEAKER else "" for size in looks}
    labels = {size: f"N = {style.amount(told['params_total'][size])}{start}" for size, start in starts.items()}
    return [Line2D([], [], label=labels[size], **look) for size, look in looks.items()]


def _entries(rows: pd.DataFrame, looks: dict[str, dict]) -> list[Line2D]:
    there = [family for family in CONTROLS if family in set(rows["family"])]
    return sized(rows, looks) + [Line2D([], [], label=CONTROLS[family][1], **_control(family)) for family in there]
