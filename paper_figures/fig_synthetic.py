"""Claim: spoken stories beat as many tokens of other speech on the story benchmarks (Cuervo & Marxer 2024, Fig. 3).

In: scores of the runs in the study synthetic. Out: a panel per benchmark, accuracy against model size.
"""

import pandas as pd
from matplotlib.figure import Figure

from analysis.laws import one_seed
from paper_figures import style
from paper_figures.results import Results

DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))


def numbers(results: Results) -> pd.DataFrame:
    """Headline accuracy of the study's own runs, one seed of each point, whatever family they belong to."""
    families = results.families("synthetic")
    runs = one_seed(results.runs)
    member = runs["studies"].str.split(";").map(lambda names: "synthetic" in names)
    rows = results.accuracy(families)
    return rows[rows["name"].isin(runs.loc[member, "name"])].reset_index(drop=True)


def draw(results: Results) -> Figure:
    """Accuracy with one standard error; a colour per training speech, a line per token count."""
    rows = numbers(results)
    benchmarks = list(dict.fromkeys(rows["eval"]))
    budgets = sorted(rows["tokens"].unique())
    figure, panels = style.new(1, len(benchmarks), 2.5, sharey=True)
    for axes, benchmark in zip(panels, benchmarks, strict=True):
        style.accuracy_axis(axes, style.label(benchmark))
        for (family, tokens), points in rows[rows["eval"] == benchmark].groupby(["family", "tokens"]):
            points = points.sort_values("params_total")
            axes.errorbar(
                points["params_total"],
                points["value"],
                points["stderr"],
                color=style.colour(family),
                capsize=1.5,
                fmt=style.marker(family),
                elinewidth=0.7,
                linestyle=DASHES[budgets.index(tokens) % len(DASHES)],
                label=f"{_speech(family)}, {tokens / 1e6:.3g}M tokens",
            )
        axes.set_xscale("log")
        axes.minorticks_off()
        sizes = sorted(rows["params_total"].unique())
        axes.set_xticks(sizes, [f"{size / 1e6:.3g}M" if size >= 1e6 else f"{size / 1e3:.0f}k" for size in sizes])
        axes.set_xlabel("parameters N")
    panels[0].set_ylabel("accuracy")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, handlelength=3)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    text = ["Accuracy by what was listened to in training, at equal token counts; one standard error over items."]
    for benchmark, group in rows.groupby("eval", sort=False):
        means = group.groupby("family")["value"].mean()
        said = "; ".join(f"{_speech(family)} {100 * value:.1f} %" for family, value in means.items())
        text.append(f"{style.label(benchmark)}, mean over runs: {said}.")
    return " ".join(text)


def _speech(family: str) -> str:
    """The stories' runs are shared with the scaling study, whose family is called by its tokens."""
    return style.label("stories" if family == "units" else family)
