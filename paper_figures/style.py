"""How every figure looks: a colour, a marker and a dash per family, print-size type, reproducible files.

In: family names, a matplotlib figure. Out: labels, looks, axes, and PDF and SVG bytes that depend on content alone.
Colours are Okabe and Ito's, which stay distinct for colour-blind readers; markers and dashes do so in grayscale.
"""

import io
import zlib
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)

from analysis.fit import Fit
from analysis.summary import number

COLUMN, PAGE = 3.4, 7.2  # inches: a column of text and the block of both
ACROSS = 4  # panels that fit in a row of a page
SMALLEST = 6.0  # points, of any type in a figure at print size
FLOPS = "training compute C = 6ND (FLOPs)"
PARAMETERS = "parameters N, tied embedding once"
TOKENS = "training tokens D, repeats counted"

LABELS = {
    "units": "speech units",
    "units-half-rate": "units, half the frame rate",
    "units-double-rate": "units, twice the frame rate",
    "units-few": "units, fewer clusters",
    "units-many": "units, more clusters",
    "units-logmel": "units, log-mel frames",
    "unigram": "unigram pieces of units",
    "unigram-few": "unigram, fewer pieces",
    "unigram-many": "unigram, more pieces",
    "bpe": "byte pairs of units",
    "phones": "phones",
    "text": "text",
    "joint": "speech and text",
    "stories": "spoken stories",
    "almanac": "spoken almanac",
    "interleaved": "interleaved",
    "base-longer": "not interleaved, as many tokens",
    "facts-apart": "facts not interleaved",
    "real-words": "real for synthetic words",
    "no-pairs": "without pairs",
    "no-speech": "without speech",
    "no-text": "without text",
    "sims": "mixture of SIMS",
    "spirit-lm": "mixture of Spirit-LM",
    "eta-0.2": "η = 0.2",
    "eta-0.4": "η = 0.4",
    "rate-50": "50 frames a second",
    "rate-25": "25 frames a second",
    "rate-12.5": "12.5 frames a second",
    "rate-6.25": "6.25 frames a second",
    "text-falls": "share of text falls",
    "untied": "output head of its own",
    "shared-head": "the same, ids of text share rows",
    "from-text-lm": "from the text LM",
    "from-speaker": "from the text-to-token model",
    "text-lm": "the text LM",
    "text-to-token": "text to units",
    "token-to-text": "units to text",
    "minimal_pairs": "Minimal pairs",
    "topic_cloze": "Topic Cloze",
    "story_cloze": "Story Cloze",
    "facts": "Facts",
    "blimp": "BLiMP",
    "zorro": "Zorro",
    "sblimp": "sBLIMP",
    "swuggy": "sWUGGY",
    "sblimp-test": "sBLIMP (test)",
    "swuggy-test": "sWUGGY (test)",
    "sstorycloze": "sStoryCloze",
    "tstorycloze": "tStoryCloze",
    "sstorycloze-spoken": "sStoryCloze (recorded)",
    "tstorycloze-spoken": "tStoryCloze (recorded)",
    "webquestions": "WebQuestions",
    "triviaqa": "TriviaQA",
    "nq_open": "NQ-open",
    "llama_questions": "Llama Questions",
    "pythia": "Pythia",
    "cuervo2024": "speech (Cuervo & Marxer)",
    "cuervo2024-curves": "speech, 29 curve runs (Cuervo & Marxer)",
    "cuervo2024-small": "speech, below 1e19 FLOPs (Cuervo & Marxer)",
    "cuervo2024-printed": "speech (Cuervo & Marxer)",
    "cuervo2024-unigram": "unigram (Cuervo & Marxer)",
    "muennighoff2023": "text (Muennighoff et al.)",
    "pythia-printed": "text (Pythia)",
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a family is told apart: in colour, and without it."""

    colour: str
    marker: str
    dash: str | tuple


LOOKS = {
    "units": Look(colour="#0072B2", marker="o", dash="-"),
    "text": Look(colour="#000000", marker="s", dash=(0, (5, 1.8))),
    "unigram": Look(colour="#D55E00", marker="D", dash=(0, (6, 1.4, 1.2, 1.4))),
    "phones": Look(colour="#009E73", marker="^", dash=(0, (1.2, 1.2))),
    "bpe": Look(colour="#E69F00", marker="X", dash=(0, (3, 1.2, 1, 1.2, 1, 1.2))),
    "joint": Look(colour="#8C6D31", marker="p", dash=(0, (8, 2))),
    "stories": Look(colour="#56B4E9", marker="h", dash=(0, (2.4, 1.2))),
    "almanac": Look(colour="#CC79A7", marker="v", dash=(0, (4, 1, 1, 1))),
    "interleaved": Look(colour="#6A3D9A", marker="H", dash=(0, (7, 1, 2, 1))),
}
ALIKE = {  # families of others -> whose look they share, as they model the same tokens
    "cuervo2024": "units",
    "cuervo2024-curves": "units",
    "cuervo2024-small": "units",
    "cuervo2024-printed": "units",
    "cuervo2024-unigram": "unigram",
    "muennighoff2023": "text",
    "pythia-printed": "text",
}
_SPARE_COLOURS = ("#E69F00", "#8C6D31", "#7F7F7F", "#6A3D9A")  # for families that have no look of their own
_SPARE_MARKERS = ("P", "<", ">", "*", "d")
_SPARE_DASHES = ((0, (1, 2)), (0, (3, 3)), (0, (7, 1.5, 1, 1.5, 1, 1.5)))
INK, GREY = "#222222", "#6E6E6E"
CHANCE = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (1, 1.5)), "zorder": 1}
"""Lines at what guessing gets."""
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.fontsize": 6.2,
    "legend.title_fontsize": 6.2,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "svg.hashsalt": "paper_figures",
    "pdf.fonttype": 42,
}


def label(name: str) -> str:
    """What readers call a family or a benchmark; of one that crosses from speech (S) to text (T), with its form."""
    base, _, form = name.rpartition("-")
    if set(form) <= set("ST") and base in LABELS:
        return f"{LABELS[base]}, {'→'.join(form)}"
    if form == "macro" and base in LABELS:
        return f"{LABELS[base]}, macro"
    if name not in LABELS and (pair := _pair(name)):
        return f"{LABELS[pair[1]]} to {LABELS[pair[0]]}"
    return LABELS.get(name, name.replace("_", " "))


def _pair(name: str) -> tuple[str, str] | None:
    """The two families that a ratio is of: `units-text` is text's exponent to that of units."""
    places = [place for place, letter in enumerate(name) if letter == "-"]
    pairs = [(name[:place], name[place + 1 :]) for place in places]
    return next((pair for pair in pairs if pair[0] in LABELS and pair[1] in LABELS), None)


def look(family: str) -> Look:
    """A family's look, the same in every figure."""
    if known := LOOKS.get(ALIKE.get(family, family)):
        return known
    place = zlib.crc32(family.encode())
    spare = (kinds[place % len(kinds)] for kinds in (_SPARE_COLOURS, _SPARE_MARKERS, _SPARE_DASHES))
    return Look(**dict(zip(("colour", "marker", "dash"), spare, strict=True)))


def shades(family: str, count: int) -> list[tuple[float, ...]]:
    """The family's colour from pale to full, for its model sizes from small to large."""
    base = to_rgb(look(family).colour)
    strengths = [0.35 + 0.65 * i / max(count - 1, 1) for i in range(count)]
    return [tuple(1 - strength * (1 - part) for part in base) for strength in strengths]


def sheet(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """An empty figure in the suite's style, in inches."""
    matplotlib.rcParams.update(matplotlib.rcParamsDefault)
    matplotlib.rcParams.update(_STYLE)
    return Figure(figsize=(width, height), layout=layout)


def new(rows: int, columns: int, height: float, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure, `height` inches a row, and its axes row by row; a single panel is as wide as a column."""
    figure = sheet(COLUMN if rows * columns == 1 else PAGE, height * rows)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def wrapped(count: int, height: float, **options: object) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in even rows of at most ACROSS, and their axes alone."""
    rows = -(-count // ACROSS)
    figure, panels = new(rows, -(-count // rows), height, **options)
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def compute_axis(axes: Axes, text: str = FLOPS) -> None:
    """Training FLOPs on a logarithmic axis."""
    decades(axes, "x")
    axes.set_xlabel(text)


def decades(axes: Axes, which: str, ticks: int = 5) -> None:
    """A logarithmic axis labelled at decades alone, in plain type: superscripts would be too small in print."""
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(numticks=ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axis.set_minor_formatter(NullFormatter())


def loss_axis(axes: Axes) -> None:
    """Losses on a logarithmic axis labelled in plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def accuracy_axis(axes: Axes, chance: float | None) -> None:
    """Accuracy in per cent, with the chance of this benchmark marked where it is known."""
    if chance is not None:
        axes.axhline(chance, **CHANCE)
    per_cent(axes.yaxis)
    axes.set_ylabel("accuracy")


def per_cent(axis: Axis, ticks: int = 6) -> None:
    """Fractions as whole per cents."""
    axis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10], min_n_ticks=3))
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def sizes_axis(axes: Axes, sizes: list[int]) -> None:
    """Numbers of parameters on a logarithmic axis, labelled at the sizes themselves."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(PARAMETERS)


def counts_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis of parameters or tokens, labelled at round counts; to be called when all is drawn."""
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    low, high = axis.get_view_interval()
    between = (1.0, 2.0, 5.0) if high < 30 * low else (1.0, 3.0) if high < 1e3 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=between, numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    axis.set_minor_locator(NullLocator())


def power(value: float) -> str:
    """`1e18`, `3.2e17`: FLOPs in plain type."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def amount(value: float) -> str:
    """`823M`, `10.9B`, `57k`: three significant digits of a count."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def interval(fit: Fit, name: str) -> str:
    """`0.050 [0.041, 0.062]` of a parameter."""
    pair = fit.intervals.get(name)
    return number(fit.params[name]) + (f" [{number(pair[0])}, {number(pair[1])}]" if pair else " (no interval)")


def short_interval(fit: Fit, name: str, places: int = 3) -> str:
    """`0.050 [0.041, 0.062]` with as many decimal places everywhere, for a narrow panel."""
    pair = [f"{value:.{places}f}".replace("-", "−") for value in (fit.params[name], *fit.intervals.get(name, ()))]
    return pair[0] + (f" [{pair[1]}, {pair[2]}]" if len(pair) > 1 else "")


def rendered(figure: Figure, kind: str) -> bytes:
    """The bytes of a `pdf` or `svg` file; the same figure always gives the same bytes."""
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=dates[kind])
    figure.set_layout_engine("none")  # what is placed stays: placing costs as much as drawing
    return buffer.getvalue()
