"""Claim: spoken stories beat as many tokens of other speech on the story benchmarks (Cuervo & Marxer 2024, Fig. 3).

In: scores of the runs in the study synthetic; of published numbers, Slam's Table 1, as the paper prints none. Out: a
panel per benchmark, accuracy against model size.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import evidence
from paper_figures import marks, style
from paper_figures.results import Results

DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
STAND_IN = "slam_table1"
_WITH, _WITHOUT = "with spoken stories", "without"
_LOOKS = {_WITHOUT: {"marker": "s", "markerfacecolor": "white"}, _WITH: {"marker": "o"}}


def numbers(results: Results) -> pd.DataFrame:
    """Headline accuracy of the study's own runs, one seed of each point, whatever family they belong to.

    Of published numbers: a row per model, benchmark and training mixture of another paper's ablation.
    """
    if results.is_published:
        return _stand_in()
    results.families("synthetic")
    return results.study_accuracy("synthetic")


def draw(results: Results) -> Figure:
    """Accuracy with one standard error; a colour per training speech, a line per token count."""
    rows = numbers(results)
    benchmarks = list(dict.fromkeys(rows["measure"]))
    figure, panels = style.wrapped(len(benchmarks), 2.3)
    for axes, benchmark in zip(panels, benchmarks, strict=True):
        chosen = rows[rows["measure"] == benchmark]
        if results.is_published:
            _ablation(axes, chosen)
        else:
            _panel(axes, chosen, sorted(rows["tokens"].unique()))
            style.sizes_axis(axes, sorted(rows["params_total"].unique()))
        style.accuracy_axis(axes, chosen["chance"].iloc[0])
        axes.set_title(style.label(benchmark))
    note = "published by others: Slam, Table 1" if results.is_published else None
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, title=note)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    if results.is_published:
        source = evidence.table(STAND_IN).source
        text = [
            "Not published as numbers. In its stead another paper's ablation, without preference optimisation "
            f"({source}): accuracy of two models trained without (open) and with (filled) spoken stories synthesised "
            "from TinyStories, on LibriSpeech and Libri-Light alone or on more diverse speech. Dots: chance."
        ]
        groups = rows.groupby(["measure", "speech"], sort=False)["value"].mean().unstack()
        for benchmark, row in groups.iterrows():
            text.append(f"{style.label(benchmark)}, mean: {100 * row[_WITHOUT]:.1f} to {100 * row[_WITH]:.1f} %.")
        return " ".join(text)
    text = [
        "Accuracy by what was listened to in training, at equal token counts; one standard error over items; dots: "
        "chance."
    ]
    for benchmark, group in rows.groupby("measure", sort=False):
        means = group.groupby("family")["value"].mean()
        said = "; ".join(f"{_speech(family)} {100 * value:.1f} %" for family, value in means.items())
        text.append(f"{style.label(benchmark)}, mean over runs: {said}.")
    return " ".join(text)


def _stand_in() -> pd.DataFrame:
    printed = evidence.table(STAND_IN)
    rows = printed.rows
    rows["model"] += rows["diverse"].map({True: ",\ndiverse speech", False: ""})
    rows["speech"] = rows["synthetic"].map({True: _WITH, False: _WITHOUT})
    parts = [
        rows[["model", "speech"]].assign(measure=benchmark, value=rows[benchmark] / 100, chance=0.5)
        for benchmark in ("sblimp", "tstorycloze", "sstorycloze")
    ]
    return pd.concat(parts, ignore_index=True).assign(status=printed.status, source=printed.source)


def _ablation(axes: Axes, rows: pd.DataFrame) -> None:
    models = list(dict.fromkeys(rows["model"]))
    for speech, points in rows.groupby("speech", sort=False):
        places = [models.index(model) for model in points["model"]]
        look = {"color": style.look("stories").colour, "linestyle": "", "zorder": 4} | _LOOKS[speech]
        axes.plot(places, points["value"], label=speech, **look)
    ends = rows.groupby("model", sort=False)["value"].agg(["min", "max"])
    axes.vlines(range(len(models)), ends["min"], ends["max"], color=style.GREY, linewidth=0.6)
    axes.set_xticks(range(len(models)), models, rotation=30, ha="right", rotation_mode="anchor")
    axes.margins(x=0.15)
    axes.set_xlabel("model (Slam, Table 1)")


def _panel(axes: Axes, rows: pd.DataFrame, budgets: list[int]) -> None:
    for (family, tokens), points in rows.groupby(["family", "tokens"]):
        dash = DASHES[budgets.index(tokens) % len(DASHES)]
        text = f"{_speech(family)}, D = {style.amount(tokens)} tokens"
        chosen = {"linestyle": dash, "capsize": 1.5, "label": text}
        marks.points(axes, points.sort_values("params_total"), "params_total", family, **chosen)


def _speech(family: str) -> str:
    """The stories' runs are shared with the scaling study, whose family is called by its tokens."""
    return style.label("stories" if family == "units" else family)
