"""Question: what does interleaving speech with text buy, and when does it hurt?

In: ablations of Spirit-LM, SIMS and Slam as printed; accuracies of the runs in the study interleaved. Out: a panel per
source, a band per model, in it a line per benchmark with a mark per direction.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import evidence
from paper_figures import style
from paper_figures.fig_knowledge import AMOUNTS, INTERVALS, SCORED, STUDY, asked, members
from paper_figures.results import Results
from paper_figures.table_interleaving import compared

OURS = "own runs"
TITLES = {
    "spiritlm_table6": "Spirit-LM, Table 6",
    "sims_table2": "SIMS, Table 2 (multi-speaker)",
    "slam_interleaving": "Slam, section 4.3",
    "sims_table1": "SIMS, Table 1 (speech trained on)",
}
BENCHMARKS = {"sblimp": "sblimp", "tsc": "tstorycloze", "ssc": "sstorycloze"} | {
    "tstorycloze": "tstorycloze",
    "sstorycloze": "sstorycloze",
}
MEASURES = ("minimal_pairs", "topic_cloze", "story_cloze")
"""Of ours, from speech to speech; the other directions are in the table crossmodal."""
FORMS = {"S": "speech", "T2S": "text → speech", "S2T": "speech → text", "T": "text", "orig": "text model before"}
_MARKERS = {"S": "o", "T2S": "^", "S2T": "s", "T": "D", "orig": "*"}
_LOOKS = {  # filled, open and ringed in grey, so that they part in grayscale too
    "tstorycloze": {"color": "#0072B2"},
    "sstorycloze": {"color": "#D55E00", "markerfacecolor": "white"},
    "sblimp": {"color": "#000000", "markerfacecolor": "#BBBBBB"},
}
_LOOKS |= {ours: _LOOKS[theirs] for ours, theirs in (("minimal_pairs", "sblimp"), ("topic_cloze", "tstorycloze"),
                                                      ("story_cloze", "sstorycloze"))}  # fmt: skip
_OTHER = {"color": style.GREY}
_ROW = 0.27  # inches a model
_STEP = 0.26  # of a row, between benchmarks
_BAND = {"color": "#F4F4F4", "linewidth": 0, "zorder": 0}


def numbers(results: Results) -> pd.DataFrame:
    """One row per source, model, benchmark and form (S: speech, T: text, T2S: from text to speech, ...)."""
    parts = [_printed(name) for name in TITLES]
    runs = compared(members(results))
    ours = asked(results, runs, *MEASURES)
    ours = ours[ours["form"].isin(["S", "SS"])]
    if len(ours):
        names = dict(zip(runs["name"], map(_run, runs.to_dict("records")), strict=True))
        parts.append(ours.assign(table=OURS, model=ours["name"].map(names), form="S"))
    columns = ["status", "table", "source", "model", "measure", "form", "value", "low", "high", "stderr"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def draw(results: Results) -> Figure:
    """Dot plots; the more rows a source has, the taller its panel."""
    rows = numbers(results)
    names = list(dict.fromkeys(rows["table"]))
    models = {name: list(dict.fromkeys(rows.loc[rows["table"] == name, "model"])) for name in names}
    others = [name for name in names if name != OURS]
    pairs = [others[i : i + 2] for i in range(0, len(others), 2)] + [[OURS]] * (OURS in names)
    heights = [max(len(models[name]) for name in pair) + 2 for pair in pairs]
    figure = style.sheet(style.PAGE, _ROW * sum(heights) + 0.5)
    grid = figure.add_gridspec(len(pairs), 2, height_ratios=heights)
    for line, pair in enumerate(pairs):
        for place, name in enumerate(pair):
            axes = figure.add_subplot(grid[line, place] if len(pair) > 1 else grid[line, :])
            _panel(axes, rows[rows["table"] == name], models[name])
            axes.set_title(TITLES.get(name, name))
    figure.legend(handles=_entries(rows), loc="outside lower center", ncols=4)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, and what it does not."""
    sources = "; ".join(evidence.table(name).source for name in TITLES)
    text = (
        "Accuracy with and without interleaving, as other papers print it; colours and fills: benchmarks, shapes: from "
        "what form to what; text model before: the text model that training on speech began with, on text. "
        "Dots: chance. Panels do not compare: recordings, models and budgets differ. Slam's two "
        f"rows have one budget, in which the interleaved model makes fewer updates. Sources: {sources}."
    )
    if (numbers(results)["status"] == "own").any():
        return f"{text} Own runs: the study {STUDY}, from speech to speech. {SCORED} Bars: {INTERVALS}."
    return f"{text} No finished run of our own study {STUDY} yet."


def _printed(name: str) -> pd.DataFrame:
    """A printed table in long form, accuracies as fractions."""
    printed = evidence.table(name)
    rows = printed.rows.assign(model=_models(name, printed.rows))
    parts = []
    for column in rows.columns:
        stem, _, form = column.removeprefix("ms_").partition("_")
        if stem in BENCHMARKS and (not form or form in FORMS):
            found = rows.loc[rows[column].notna(), ["model", column]].rename(columns={column: "value"})
            measure = BENCHMARKS[stem] + ("-multispeaker" if column.startswith("ms_") else "")
            parts.append(found.assign(measure=measure, form=form or "S"))
    labels = {"status": printed.status, "table": name, "source": printed.source}
    long = pd.concat(parts, ignore_index=True).assign(**labels)
    return long.assign(value=long["value"] / 100)


def _models(name: str, rows: pd.DataFrame) -> list[str]:
    if name == "slam_interleaving":
        return [f"{row.variant}, {row.updates:,} updates" for row in rows.itertuples()]
    if name == "sims_table1":
        kinds = {(True, False): "real", (False, True): "synthetic", (True, True): "real and synthetic"}
        return [kinds[bool(row.real), bool(row.synthetic)] for row in rows.itertuples()]
    if name == "sims_table2":
        names = rows["model"].str.partition(",")[0].str.replace("[()]", "", regex=True)
        budgets = rows["C_flops"].map(style.power)
        return list(names + " " + rows["params"] + ",\n" + budgets + " FLOPs")
    return list(rows["model"])


def _look(measure: str, form: str) -> dict:
    many = measure.endswith("-multispeaker")
    look = {"linestyle": "", "marker": "p" if many else _MARKERS[form], "markersize": 4.2}
    return look | _LOOKS.get(_base(measure), _OTHER)


def _panel(axes: Axes, rows: pd.DataFrame, models: list[str]) -> None:
    """A band per model, in which every benchmark has a line of its own."""
    bases = list(dict.fromkeys(sorted(_base(measure) for measure in rows["measure"])))
    for (measure, form), points in rows.groupby(["measure", "form"], sort=False):
        shift = _STEP * (bases.index(_base(measure)) - (len(bases) - 1) / 2)
        heights = [models.index(model) + shift for model in points["model"]]
        ends = None
        if points["low"].notna().all():
            ends = [points["value"] - points["low"], points["high"] - points["value"]]
        axes.errorbar(points["value"], heights, xerr=ends, elinewidth=0.7, **_look(measure, form))
    for place in range(0, len(models), 2):
        axes.axhspan(place - 0.5, place + 0.5, **_BAND)
    axes.set_yticks(range(len(models)), models)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.axvline(0.5, **style.CHANCE)
    style.per_cent(axes.xaxis)
    axes.set_xlabel("accuracy")


def _base(measure: str) -> str:
    return measure.removesuffix("-multispeaker")


def _run(run: dict) -> str:
    """What a run of ours is called: its one change, and its amount where that is the change."""
    name = style.label(run["family"])
    return f"{name}, {style.amount(run['interleaved_tokens'])}" if run["family"] == AMOUNTS else name


def _entries(rows: pd.DataFrame) -> list[Line2D]:
    seen = dict.fromkeys(zip(rows["measure"], rows["form"], strict=True))
    return [Line2D([], [], label=_said(*pair), **_look(*pair)) for pair in sorted(seen)]


def _said(measure: str, form: str) -> str:
    if measure.endswith("-multispeaker"):
        return f"{style.label(measure.removesuffix('-multispeaker'))}, several speakers"
    return f"{style.label(measure)}, {FORMS[form]}"
