"""The figure of schemes: read from the table that compares them, every point named and no name on another."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation

from analysis import frame
from analysis.columns import TABLES
from paper_figures import fig_schemes, style, table_supervised
from paper_figures.results import NothingToDraw, Results

KINDS = ["units", "unigram", "bpe", "phones", "units", "unigram", "units"]


def results_with(schemes: pd.DataFrame | None) -> Results:
    empty = {name: pd.DataFrame(columns=list(columns)) for name, columns in TABLES.items()}
    return Results(scale="tiny", tables=frame.Tables(**empty), fits=[], schemes=schemes)


@pytest.fixture
def table():
    """Seven schemes of two corpora, three of them nearly in one place."""
    rows = pd.DataFrame(
        {
            "scheme": ["units50", "unigram50", "bpe50", "phones", "units200", "unigram200", "logmel500"],
            "kind": KINDS,
            "bits_per_second_unigram": [103.0, 76.1, 72.3, 65.5, 104.0, 104.5, 72.0],
            "phone_information": [0.475, 0.479, 0.508, 0.986, 0.476, 0.477, 0.51],
            "abx_within": [0.08, 0.28, 0.28, 0.0, 0.09, 0.24, 0.2],
            "speaker_accuracy": [0.98, 0.97, 0.98, 0.385, 0.99, 1.0, 1.0],
            "speaker_chance": 0.34,
            "notes": "",
        }
    )
    return pd.concat([rows.assign(corpus=corpus) for corpus in ("stories", "librispeech")], ignore_index=True)


def names(axes):
    return [text for text in axes.texts if isinstance(text, Annotation) and text.get_text()]


def test_every_point_is_numbered_and_no_number_hides_another(table):
    results = results_with(table)
    figure = fig_schemes.draw(results)
    assert len(figure.axes) == 6
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == [f"{i}  {style.label(name)}" for i, name in enumerate(table["scheme"].unique(), start=1)]
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert sorted(name.get_text() for name in names(axes)) == [str(number) for number in range(1, 8)]
        boxes = [name.get_window_extent() for name in names(axes)]
        assert not any(one.overlaps(two) for one, two in combinations(boxes, 2))


def test_missing_numbers_are_left_out_and_never_zero(table):
    stories = table["corpus"] == "stories"
    table.loc[~stories, ["speaker_accuracy", "speaker_chance"]] = np.nan
    table.loc[0, "phone_information"] = np.nan
    results = results_with(table.assign(abx_within=np.nan))
    rows = fig_schemes.numbers(results)
    assert "abx_within" not in rows and rows["phone_information"].isna().sum() == 1
    figure = fig_schemes.draw(results)
    assert [len(names(axes)) for axes in figure.axes] == [6, 7, 7, 0]
    text = fig_schemes.caption(results)
    assert "nan" not in text and "stories: unigram50 47.9 %" in text and "ABX" not in text


def test_drawing_twice_gives_the_same_bytes(table):
    results = results_with(table)
    assert len({style.rendered(fig_schemes.draw(results), "svg") for _ in range(2)}) == 1


def test_without_a_comparison_there_is_nothing_to_draw(table):
    with pytest.raises(NothingToDraw, match="python -m data compare"):
        fig_schemes.draw(results_with(None))
    results = results_with(table.assign(phone_information=np.nan, abx_within=np.nan, speaker_accuracy=np.nan))
    with pytest.raises(NothingToDraw, match="have no phone_information"):
        fig_schemes.draw(results)


def test_tokenizers_that_read_are_told_by_rate_and_codes(table):
    read = table["scheme"].isin(["units50", "units200"]) & (table["corpus"] == "stories")
    told = {"tokens_per_second": 20.0, "vocabulary": 256, "used_vocabulary": 0.99, "perplexity": 200.0}
    told |= {"held_out_wer": 0.1, "held_out_cer": 0.03, "held_out_words": 2745}
    table = table.assign(**told)
    table.loc[table["scheme"] == "units200", ["tokens_per_second", "held_out_wer"]] = [40.0, 0.05]
    table.loc[~read, "held_out_wer"] = np.nan
    results = results_with(table)
    rows = table_supervised.numbers(results)
    assert rows[["scheme", "held_out_wer"]].values.tolist() == [["units200", 0.05], ["units50", 0.1]]
    shown = {text.get_text() for text in table_supervised.draw(results).axes[0].texts}
    assert {"units200", "10.0", "5.0", "256"} <= shown
    assert "2,745 words" in table_supervised.caption(results)
    for nothing in (None, table.assign(held_out_wer=np.nan), table.drop(columns="held_out_wer")):
        with pytest.raises(NothingToDraw, match="no supervised tokenizer was compared"):
            table_supervised.numbers(results_with(nothing))
