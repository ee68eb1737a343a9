"""Claim: a tokenization scheme is what it keeps of speech for what it costs.

In: `schemes.csv` of the scale, as `python -m data compare` writes it. Out: a row of panels per corpus, phones, ABX and
speaker against bits per second, a numbered point per scheme.
"""

from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox

from paper_figures import style
from paper_figures.results import NothingToDraw, Results

PANELS = {
    "phone_information": ("Phone information kept", "share of H(phone), held out"),
    "abx_within": ("Triphones confused", "ABX error within speaker"),
    "speaker_accuracy": ("Speaker told", "accuracy, 5 s of speech"),
}
_MEANINGS = {
    "phone_information": "Phone information is the share of the entropy of a 10 ms frame's phone that its token tells, "
    "learnt on one half of the documents and measured on the other; unlike purity it does not rise with the "
    "vocabulary. A token does not tell where inside it a frame lies: pieces over several phones lose by that, although "
    "their units come back without loss.",
    "abx_within": "ABX asks whether a triphone is nearer to one with the same middle phone than to one with another "
    "between the same neighbours, by dynamic time warping over the tokens of 10 ms frames; dots: chance. Pieces that "
    "reach beyond the triphone differ with what is there.",
    "speaker_accuracy": "The speaker is told by a linear probe from the frequencies of tokens in chunks of about 5 s; "
    "dots: the most frequent speaker.",
}
COST = "bits_per_second_unigram"
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_DISTANCES = (4, 8, 14, 20, 27, 35, 44)  # points between a marker and its number; beyond the second, a line joins them
_HALF_MARKER = 2.8  # points


def numbers(results: Results) -> pd.DataFrame:
    """One row per scheme; a measure that was not made is empty, and one that no scheme has is left out."""
    rows = results.schemes
    if rows is None:
        raise results.nothing("no schemes were compared by `python -m data compare`")
    measured = [column for column in PANELS if rows[column].notna().any()]
    if not measured:
        raise NothingToDraw(f"the schemes compared at scale {results.scale} have no {', '.join(PANELS)}")
    rows = rows[rows[measured].notna().any(axis=1)]
    chance = ["speaker_chance"] if "speaker_accuracy" in measured else []
    return rows[["corpus", "scheme", "kind", COST, *measured, *chance]]


def draw(results: Results) -> Figure:
    """A row per corpus, a panel per measure; numbers at the points are those of the schemes in the legend."""
    rows = numbers(results)
    measures = [column for column in PANELS if column in rows]
    corpora = list(dict.fromkeys(rows["corpus"]))
    order = {scheme: number for number, scheme in enumerate(dict.fromkeys(rows["scheme"]), start=1)}
    figure, panels = style.new(len(corpora), len(measures), 2.2)
    kinds = dict(zip(rows["scheme"], rows["kind"], strict=True))
    figure.legend(handles=[_entry(scheme, number, kinds[scheme]) for scheme, number in order.items()],
                  loc="outside lower center", ncols=3)  # fmt: skip
    places = list(zip(panels, product(corpora, measures), strict=True))
    titled, named = set(), set()
    for axes, (corpus, measure) in places:
        found = rows[(rows["corpus"] == corpus) & rows[measure].notna()]
        if found.empty:
            axes.axis("off")
            continue
        _panel(axes, found, measure)
        axes.set_title("" if measure in titled else PANELS[measure][0])
        axes.set_ylabel(PANELS[measure][1] if corpus in named else f"{corpus}\n{PANELS[measure][1]}")
        titled.add(measure)
        named.add(corpus)
    figure.draw_without_rendering()  # places the axes, which the numbers need
    for axes, (corpus, measure) in places:
        _number(axes, rows[(rows["corpus"] == corpus) & rows[measure].notna()], measure, order)
    return figure


def _entry(scheme: str, number: int, kind: str) -> Line2D:
    look = {"marker": style.look(kind).marker, "color": style.look(kind).colour, "linestyle": "", "markersize": 4}
    return Line2D([], [], label=f"{number}  {style.label(scheme)}", **look)


def caption(results: Results) -> str:
    """What the figure shows, and what of it compares."""
    rows = numbers(results)
    text = [
        "What tokenization schemes keep of speech against what they cost, over the documents that all schemes of a "
        "corpus hold. Bits per second are the entropy of single tokens times their rate: a model that sees context "
        "needs fewer, and durations, which these tokens leave out, are not counted. Points compare within a corpus "
        "alone: phones, pauses and speakers differ between corpora."
    ]
    return " ".join(text + [f"{_MEANINGS[measure]} {_told(rows, measure)}" for measure in PANELS if measure in rows])


def _told(rows: pd.DataFrame, measure: str) -> str:
    said = []
    for corpus, group in rows.dropna(subset=[measure]).groupby("corpus", sort=False):
        values = ", ".join(f"{row.scheme} {100 * getattr(row, measure):.1f} %" for row in group.itertuples())
        said.append(f"{corpus}: {values}.")
    return " ".join(said)


def _panel(axes: Axes, rows: pd.DataFrame, measure: str) -> None:
    for kind, points in rows.groupby("kind", sort=False):
        axes.plot(points[COST], points[measure], style.look(kind).marker, color=style.look(kind).colour, markersize=4)
    chance = rows["speaker_chance"].max() if measure == "speaker_accuracy" else 0.5
    if measure != "phone_information" and pd.notna(chance):
        axes.axhline(chance, **style.CHANCE)
    axes.margins(0.2)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.05), min(high, 1.08))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("bits per second, single tokens")


def _number(axes: Axes, rows: pd.DataFrame, measure: str, order: dict[str, int]) -> None:
    """Write each scheme's number beside its point, at the nearest place that is free."""
    points = list(zip(rows[COST], rows[measure], strict=True))
    half = _HALF_MARKER * axes.figure.dpi / 72
    taken = [Bbox([[x - half, y - half], [x + half, y + half]]) for x, y in axes.transData.transform(points)]
    for scheme, kind, point in zip(rows["scheme"], rows["kind"], points, strict=True):
        look = {"textcoords": "offset points", "fontsize": 6.5, "color": style.look(kind).colour}
        name = axes.annotate(str(order[scheme]), point, (0, 0), **look)
        name.set_in_layout(False)
        for distance, (right, up) in product(_DISTANCES, _DIRECTIONS):
            place = (right * distance, up * distance)
            name.set(position=place, ha=("center", "left", "right")[right], va=("center", "bottom", "top")[up])
            box = name.get_window_extent()
            if axes.bbox.count_contains(box.corners()) == 4 and box.count_overlaps(taken) == 0:
                break
        taken.append(box)
        if distance > _DISTANCES[1]:
            line = {"arrowstyle": "-", "color": style.GREY, "linewidth": 0.5}
            axes.annotate("", point, place, textcoords="offset points", arrowprops=line).set_in_layout(False)
