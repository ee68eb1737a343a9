"""How figures look in print: families told apart without colour, no type too small, units on the axes."""

from itertools import combinations

import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from paper_figures import ruled, style
from paper_figures.catalogue import FIGURES


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of a colour: what grayscale keeps of it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_families_differ_by_marker_and_dash_and_most_by_luminance():
    looks = list(style.LOOKS.values())
    for part in ("colour", "marker", "dash"):
        assert len({getattr(look, part) for look in looks}) == len(looks), part
    assert len({round(luminance(look.colour), 2) for look in looks}) >= len(looks) - 1
    known = ["units", "text", "unigram", "phones"]  # those that share most figures
    shades = sorted(luminance(style.LOOKS[name].colour) for name in known)
    assert all(second - first > 0.03 for first, second in zip(shades, shades[1:], strict=False))
    assert all(luminance(look.colour) < 0.45 for look in looks), "too pale on paper"


def test_families_without_a_look_get_one_and_keep_it():
    spare = style.look("a new family")
    assert spare == style.look("a new family") and spare not in style.LOOKS.values()
    assert style.look("cuervo2024") == style.LOOKS["units"]


def test_no_type_is_too_small_and_no_figure_too_wide(figures):
    assert len(figures) > 25
    for name, figure in figures.items():
        width = figure.get_size_inches()[0]
        assert style.COLUMN <= width <= style.PAGE, name
        texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert texts and min(text.get_fontsize() for text in texts) >= style.SMALLEST, name
        assert not any("$" in text.get_text() for text in texts), f"{name}: superscripts would be smaller still"


def test_axes_of_figures_say_what_they_measure(figures):
    for (source, name), figure in figures.items():
        if not FIGURES[name].module.__name__.startswith("paper_figures.fig_"):
            continue
        for axes in figure.axes:
            titled = name in ("sweep", "interleaved_ablation")  # rows are schemes or models
            assert axes.get_title(loc="left") if titled else axes.get_xlabel() and axes.get_ylabel(), (source, name)


def test_a_ruled_table_fits_the_page_and_leaves_empty_rows_out():
    columns = {f"benchmark {i}": ["61.3\n[60.1, 62.5]", "" if i > 5 else "50.0"] for i in range(14)}
    table = ruled.Ruled(cells=pd.DataFrame({"family": ["units", "text"]} | columns))
    figure = ruled.figure(table)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said.count("family") > 1, "names are repeated in every block"
    assert said.count("units") == said.count("family") and said.count("text") < said.count("family")
    assert all(name in said for name in columns)
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    assert not any(one.overlaps(two) for one, two in combinations(boxes, 2)), "cells overlap"


@pytest.mark.parametrize(
    ("value", "text"), [(823179264, "823M"), (10.89e9, "10.9B"), (57984, "58k"), (999_900, "1M"), (12, "12"), (0, "0")]
)
def test_amounts(value, text):
    assert style.amount(value) == text


def test_powers_are_plain():
    assert [style.power(value) for value in (1e18, 3.2e17, 1e9)] == ["1e18", "3.2e17", "1e9"]


def test_labels_of_averages_forms_and_ratios():
    assert style.label("blimp-macro") == "BLiMP, macro" and style.label("joint-ST") == "speech and text, S→T"
    assert style.label("units-text") == "text to speech units" and style.label("units-few") == "units, fewer clusters"
