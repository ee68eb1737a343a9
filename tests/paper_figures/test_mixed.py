"""Figures and tables of speech and text together: conventions, references, studies of which a part is finished."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from experiments.scales import SCALES
from experiments.studies import runs_of
from paper_figures import report, sections, style
from paper_figures.catalogue import FIGURES, MIXED
from paper_figures.fig_knowledge import CONTROLS, ENDING, SPEAKER
from paper_figures.results import NothingToDraw
from paper_figures.table_interleaving import ORDER

NAMES = [name for name, entry in FIGURES.items() if entry.heading == MIXED and name != "supervised"]  # of schemes
BESIDE = ["interleaved_scaling", "interleaved_ablation"]
FULL = "interleaved/1000k/w80"


def numbers(name, results):
    return FIGURES[name].module.numbers(results)


def part(results, keep):
    """The results without the runs of which `keep` is false."""
    names = results.runs.loc[[bool(keep(row)) for row in results.runs.to_dict("records")], "name"]
    frames = {name: getattr(results.tables, name) for name in ("runs", "scores", "losses")}
    kept = {name: frame[frame["name"].isin(names)] for name, frame in frames.items()}
    return replace(results, tables=replace(results.tables, **kept))


def test_the_tables_know_the_families_of_the_study():
    families = {run.family for run in runs_of("interleaved", SCALES["micro"])}
    assert families <= set(ORDER) | {"text-lm"} and set(CONTROLS) < families
    assert all(style.label(family) != family for family in families - {"interleaved"})


def test_knowledge_is_scored_by_the_ending_alone(mixed):
    rows = numbers("knowledge", mixed)
    scores = mixed.scores.set_index(["name", "eval", "metric"])
    assert set(rows["metric"]) == {ENDING} and set(rows["form"]) == {"TT", "TS", "ST", "SS"}
    for row in rows.itertuples():
        source = scores.loc[(row.name, f"facts-{row.form}", ENDING)]
        assert (row.value, row.low, row.high, row.n) == tuple(source[["value", "low", "high", "n"]])
    amounts = rows[(rows["kind"] == "amount") & (rows["form"] == "SS")]
    given = sorted(amounts.loc[amounts["family"] == "interleaved", "interleaved_tokens"])
    assert given == [0, 0, 166_667, 166_667, 333_333, 333_333, 1_000_000, 1_000_000]
    assert sorted(amounts.loc[amounts["family"] == SPEAKER, "interleaved_tokens"]) == [0, 1_000_000]
    assert set(rows.loc[rows["kind"] == "control", "family"]) == set(CONTROLS)
    caption = FIGURES["knowledge"].module.caption(mixed)
    assert "not over seeds" in caption and "216 questions, chance 16.7 %" in caption


def test_every_panel_of_knowledge_has_its_chance_and_both_controls(mixed, figures):
    for axes in figures["mixed", "knowledge"].axes:
        flat = [line.get_ydata()[0] for line in axes.lines if line.get_color() == style.GREY]
        markers = {line.get_marker() for line in axes.lines if line.get_color() == style.INK}
        assert flat == [pytest.approx(1 / 6)] and {"D", "s"} <= markers and axes.get_ylim()[0] == 0


def test_differences_are_to_the_most_interleaved_run_and_marked_beyond_their_interval(mixed):
    rows = numbers("interleaving", mixed).set_index(["family", "interleaved_tokens", "measure", "form"]).sort_index()
    assert set(rows["reference"]) == {FULL} and (rows["size"] == "w80").all()
    assert rows.loc[("interleaved", 1_000_000, "facts", "SS"), ["difference", "difference_low"]].isna().all()
    reference, other = (rows.loc[(family, 1_000_000, "facts", "TT")] for family in ("interleaved", "no-pairs"))
    margin = 1.96 * np.hypot(reference["stderr"], other["stderr"])
    assert other["difference"] == pytest.approx(other["value"] - reference["value"])
    assert other["difference_high"] - other["difference"] == pytest.approx(margin)
    said = [text.get_text() for text in FIGURES["interleaving"].module.draw(mixed).axes[0].texts]
    marked = [text for text in said if "▼" in text]
    assert f"{100 * other['value']:.1f}▼\n[{100 * other['low']:.1f}, {100 * other['high']:.1f}]" in marked
    beyond = (rows["difference_high"] < 0).sum()
    assert len(marked) == beyond and not any("▲" in text for text in said) and beyond < rows["difference"].notna().sum()


def test_losses_are_of_text_and_of_speech_and_the_text_lm_stands_beside(mixed):
    rows = numbers("interleaving", mixed)
    losses = rows[rows["measure"] == "loss"].set_index(["name", "form"])
    held_out = mixed.tables.losses.set_index(["name", "store"])
    full = held_out.loc[FULL]
    assert losses.loc[(FULL, "T"), "value"] == full.loc["stories-validation-T/joint-vq25", "nats_per_token"]
    assert losses.loc[(FULL, "S"), "value"] == full.loc["stories-validation-S/joint-vq25", "nats_per_unit"]
    text = rows[rows["family"] == "text-lm"].set_index(["measure", "form"])["value"]
    assert set(text.index) >= {("loss", "T"), ("minimal_pairs", "T")} and ("loss", "S") not in text.index
    assert "Text kept: 1.100 nats a token in the text LM" in FIGURES["interleaving"].module.caption(mixed)
    drawn = FIGURES["interleaving"].module.draw(mixed).axes[0].texts
    assert sum(text.get_text() == "2.500" and text.get_color() == style.GREY for text in drawn) == 1, "12.5 Hz alone"


def test_the_directions_stand_beside_each_other_with_the_older_study(mixed):
    rows = numbers("crossmodal", mixed)
    assert set(rows["study"]) == {"interleaved", "crossmodal"} and set(rows["size"]) == {"w96", "w80", "w64"}
    assert set(rows.loc[rows["family"] == "text-lm", "form"]) == {"TT"}
    assert not rows.duplicated(["name", "measure", "form"]).any()
    assert set(rows["family"]) == {"interleaved", "from-speaker", "from-text-lm", "text-lm", "joint"}
    assert "model have its size, N = 130k" in FIGURES["crossmodal"].module.caption(mixed)


def test_speakers_are_read_beside_their_floor(mixed):
    rows = numbers("speakers", mixed).set_index(["name", "metric"])["value"]
    assert rows["text-to-token/vq25"].to_dict() == {"wer": 0.2, "wer_of_real": 0.1, "length": 1.02}
    assert "+10.0 points to the transcriber's own errors" in FIGURES["speakers"].module.caption(mixed)
    assert "word_error" not in str(numbers("benchmarks", mixed)["metric"].unique())
    assert not set(numbers("benchmarks", mixed)["family"]) & {"text-to-token", "token-to-text"}


PARTS = {
    "nothing": lambda run: False,
    "none interleaved": lambda run: run["family"] == "interleaved" and run["interleaved_tokens"] == 0,
    "one amount": lambda run: run["name"] == FULL,
    "small size": lambda run: run["size"] == "w48",
    "changes alone": lambda run: run["family"] in ("facts-apart", "rate-12.5"),
    "no control": lambda run: run["family"] in ("interleaved", "no-pairs"),
    "text alone": lambda run: run["family"] == "text-lm",
    "text and from it": lambda run: run["family"] in ("text-lm", "from-text-lm"),
    "one speaker": lambda run: run["name"] == "text-to-token/vq25",
    "older study": lambda run: run["family"] == "joint",
}


@pytest.mark.parametrize("what", [*PARTS, "no scores", "no losses", "no intervals"])
def test_a_study_of_which_a_part_is_finished_is_drawn_as_far_as_it_is(mixed, what):
    scores, losses = mixed.scores, mixed.tables.losses
    bare = {"no scores": {"scores": scores.iloc[:0]}, "no losses": {"losses": losses.iloc[:0]}}
    bare["no intervals"] = {"scores": scores.assign(low=np.nan, high=np.nan)}
    results = replace(mixed, tables=replace(mixed.tables, **bare[what])) if what in bare else part(mixed, PARTS[what])
    drawn = []
    for name in NAMES + BESIDE:
        try:
            svg = style.rendered(FIGURES[name].module.draw(results), "svg")
        except NothingToDraw:
            continue
        caption = FIGURES[name].module.caption(results)
        assert b"nan" not in svg and "nan" not in caption and caption.endswith("."), name
        drawn.append(name)
    assert set(BESIDE) <= set(drawn)
    expected = {
        "nothing": set(),
        "text alone": set(),
        "one speaker": {"speakers"},
        "older study": {"crossmodal"},
        "one amount": {"knowledge", "interleaving", "crossmodal"},
        "no scores": {"interleaving"},
    }
    assert set(drawn) - set(BESIDE) == expected.get(what, set(drawn) - set(BESIDE))


def test_without_the_largest_run_nothing_is_marked(mixed):
    bare = part(mixed, PARTS["changes alone"])
    rows = numbers("interleaving", bare)
    assert set(rows["reference"]) == {""} and rows["difference"].isna().all()
    assert "is not finished" in FIGURES["interleaving"].module.caption(bare)


def test_cells_of_the_tables_do_not_overlap(figures):
    for name in ("interleaving", "crossmodal", "speakers"):
        figure = figures["mixed", name]
        figure.draw_without_rendering()
        width, height = figure.canvas.get_width_height()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
        assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes), name
        assert not any(one.overlaps(two) for one, two in combinations(boxes, 2)), name


def test_the_report_has_their_section_where_there_are_runs_and_only_there(mixed, results, figures):
    def page(source, of):
        found = {name: figure for (where, name), figure in figures.items() if where == source}
        pictures = {
            name: report.Picture(svg=style.rendered(figure, "svg").decode(), caption=f"about {name}.")
            for name, figure in found.items()
        }
        return report.page(of, pictures, {})

    with_runs, without = page("mixed", mixed), page("own", results)
    assert f"<h2>{MIXED}</h2>" in with_runs and f"<h2>{MIXED}</h2>" not in without and sections.mixed(results) == []
    section = with_runs.split(f"<h2>{MIXED}</h2>")[1].split("<h2>")[0]
    assert all(f"id='{name}'" in section for name in NAMES) and "one seed" in section
    assert "<td>nan" not in with_runs
