"""Figures of own runs: equal bytes for equal results, plotted numbers, absent studies, chance, marks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import downstream, envelope, isoflop
from analysis.fit import Fit
from paper_figures import score_sections, style
from paper_figures.catalogue import FIGURES
from paper_figures.results import NothingToDraw


def drawn(name, results, kind="svg"):
    return style.rendered(FIGURES[name].module.draw(results), kind)


def numbers(name, results):
    return FIGURES[name].module.numbers(results)


def tables_of(results):
    return {heading: rows for heading, _, rows in score_sections.tables(results)}


@pytest.mark.parametrize("name", FIGURES)
def test_drawing_twice_gives_the_same_bytes(results, grid, mixed, figures, name):
    sources = {"own": results, "grid": grid, "mixed": mixed}
    source, of = next((source, of) for source, of in sources.items() if (source, name) in figures)
    assert style.rendered(figures[source, name], "svg") == drawn(name, of)
    assert numbers(name, of).equals(numbers(name, of))
    caption = FIGURES[name].module.caption(of)
    assert "nan" not in caption and caption.endswith(".")


def test_pdf_files_repeat_themselves_too(results):
    assert drawn("hindcast", results, "pdf") == drawn("hindcast", results, "pdf")


def test_a_changed_loss_changes_its_figure(results):
    runs = results.runs.assign(nats_per_token=results.runs["nats_per_token"] * 1.1)
    other = replace(results, tables=replace(results.tables, runs=runs))
    assert drawn("loss_envelope", results) != drawn("loss_envelope", other)


def test_numbers_are_the_rows_of_the_tables(results):
    rows = numbers("performance_compute", results)
    runs = rows[rows["kind"] == "run"]
    choices = set(results.scores.loc[results.scores["metric"] == "accuracy_mean", "eval"])
    assert set(runs["family"]) == {"units", "text"} and set(runs["measure"]) == choices | {"minimal_pairs-macro"}
    assert len(runs) == 4 * results.runs["family"].isin(["units", "text"]).sum()
    scores = results.scores[results.scores["metric"] == "accuracy_mean"].set_index(["name", "eval", "subset"])["value"]
    for row in runs.itertuples():
        benchmark, _, macro = row.measure.partition("-")
        assert row.value == scores.loc[row.name, benchmark, macro or "all"]
    tokenizers = numbers("tokenizers", results)
    per_unit = tokenizers[tokenizers["measure"] == "nats_per_unit"]
    assert set(per_unit["family"]) == {"units", "unigram"}
    assert set(numbers("synthetic", results)["family"]) == {"units", "almanac"}


def test_lines_of_laws_are_their_predictions_within_their_bands(results):
    compute, losses = numbers("performance_compute", results), numbers("loss_envelope", results)
    fit = results.fit(downstream.LAW, "text", "topic_cloze")
    law = compute[(compute["kind"] == "law") & (compute["family"] == "text") & (compute["measure"] == "topic_cloze")]
    np.testing.assert_allclose(law["value"], downstream.predict_compute(fit.params, law["flops_6n"]))
    fit = results.fit(envelope.LAW, "units")
    law = losses[(losses["kind"] == "law") & (losses["family"] == "units")]
    np.testing.assert_allclose(law["value"], envelope.predict(fit.params, law["flops_6n"]))
    assert (law["low"] <= law["value"]).all() and (law["value"] <= law["high"]).all()
    assert set(losses.loc[(losses["kind"] == "envelope") & (losses["family"] == "units"), "name"]) == set(fit.kept)


def test_isoflop_shows_the_minima_and_their_laws(grid):
    rows = numbers("isoflop", grid)
    fit = grid.fit(isoflop.LAWS["parabola"], "units")
    lowest = rows[rows["kind"] == "minimum"]
    assert len(lowest) >= 3 and len(rows[rows["kind"] == "run"]) == len(fit.rows)
    for row in lowest.itertuples():
        curve = rows[(rows["kind"] == "curve") & (rows["budget"] == row.budget)]
        assert curve["value"].min() == pytest.approx(row.value, rel=1e-4)
        assert row.value <= curve["value"].min() * (1 + 1e-12)
    for kind, predict in (("N", isoflop.predict), ("D", isoflop.tokens)):
        law = rows[rows["kind"] == kind]
        np.testing.assert_allclose(law["value"], predict(fit.params, law["flops_6n"]))


def test_isoflop_curves_without_a_law_are_shown_all_the_same(grid):
    bare = replace(grid, fits=[fit for fit in grid.fits if not fit.law.startswith("isoflop")])
    rows = numbers("isoflop", bare)
    assert {"run", "curve", "minimum"} == set(rows["kind"]) and not rows.duplicated().any()
    assert "too few minima among the sizes for a law" in FIGURES["isoflop"].module.caption(bare)
    assert style.rendered(FIGURES["isoflop"].module.draw(bare), "svg")


def test_repeats_shows_what_fresh_tokens_would_give(grid):
    rows = numbers("repeats", grid)
    most = rows["tokens"] == rows["tokens"].max()
    law, fresh = (rows[most & (rows["kind"] == kind)].set_index("params_total")["value"] for kind in ("law", "fresh"))
    assert len(law) == 3 and (law > fresh).all(), "repeated tokens are worth less"
    assert "95 % band of the largest size" in FIGURES["repeats"].module.caption(grid)


def test_a_hindcast_point_is_one_of_its_fit(results):
    rows = numbers("hindcast", results)
    fit = results.fit(envelope.LAW, "units")
    own = rows[(rows["law"] == envelope.LAW) & (rows["family"] == "units")]
    assert [[row.name, row.flops_6n, row.observed, row.predicted] for row in own.itertuples()] == fit.hindcast["points"]
    assert np.sqrt((own["error"] ** 2).mean()) == pytest.approx(fit.hindcast["root_mean_square"])
    assert (rows["flops_6n"] > rows["cut_flops"]).all()
    bare = [replace(fit, hindcast={}) for fit in results.fits]
    with pytest.raises(NothingToDraw, match="larger ones"):
        FIGURES["hindcast"].module.draw(replace(results, fits=bare))


def test_chance_is_that_of_each_benchmark(results):
    chances = {"minimal_pairs": 0.5, "topic_cloze": 0.25, "story_cloze": 0.1}
    scores = results.scores.assign(chance=results.scores["eval"].map(chances))
    other = replace(results, tables=replace(results.tables, scores=scores))
    for name in ("performance_compute", "performance_loss", "synthetic", "tokenizers"):
        figure = FIGURES[name].module.draw(other)
        marked = {}
        for axes in figure.axes:
            lines = [line for line in axes.lines if line.get_linestyle() == ":" or line.get_color() == style.GREY]
            flat = {y for line in lines if len({*(ys := line.get_ydata())}) == 1 for y in ys}
            marked.setdefault(axes.get_title(loc="left").split(",")[0], set()).update(flat)
        for benchmark, chance in chances.items():
            assert marked[style.label(benchmark)] == {chance}, (name, benchmark)


def test_panels_come_in_rows_of_at_most_four():
    for count in (1, 2, 4, 5, 9, 20):
        figure, panels = style.wrapped(count, 2.0)
        columns = panels[0].get_gridspec().ncols
        assert len(panels) == len(figure.axes) == count and columns <= 4
        assert figure.get_size_inches()[0] == (style.COLUMN if count == 1 else style.PAGE)


def test_the_table_of_benchmarks_has_both_averages_chance_and_the_text_topline(results):
    rows = numbers("benchmarks", results).set_index(["family", "eval", "subset"])
    scores = results.scores.set_index(["name", "eval", "subset", "metric"])
    for (family, benchmark, subset), row in rows.iterrows():
        own = results.runs[results.runs["family"] == family]
        assert row["flops_6n"] == own["flops_6n"].max()
        assert row["value"] == scores.loc[(row["name"], benchmark, subset, row["metric"]), "value"]
        topline = scores.loc[("text/1200k/w96", benchmark, subset, row["metric"]), "value"]
        assert (row["topline"], row["topline_run"]) == (topline, "text/1200k/w96")
    assert set(rows.xs("units")["metric"]) == {"accuracy_mean", "containment"}
    assert set(rows.xs("macro", level="subset").reset_index()["eval"]) == {"minimal_pairs"}
    assert rows.loc[("text", "webquestions", "all"), "chance"] == 0.0
    assert rows.loc[("text", "story_cloze", "all"), "chance"] == 0.5, "old rows did not record it"
    assert "text/1200k/w96 on Topic Cloze" in FIGURES["benchmarks"].module.caption(results)


def test_the_best_text_family_is_the_topline_and_none_is_none(results):
    """A published text model beats the suite's own on one benchmark alone."""
    runs, scores = results.runs, results.scores
    published = runs[runs["name"] == "text/1200k/w96"].assign(name="pythia/x", family="pythia", tokenizer="pretrained")
    own = scores[(scores["name"] == "text/1200k/w96") & (scores["metric"] == "accuracy_mean")]
    gain = own["eval"].map({"minimal_pairs": -0.2, "topic_cloze": 0.2, "story_cloze": -0.2})
    theirs = own.assign(name="pythia/x", family="pythia", value=own["value"] + gain)
    more = replace(results.tables, runs=pd.concat([runs, published]), scores=pd.concat([scores, theirs]))
    rows = numbers("benchmarks", replace(results, tables=more))
    best = rows.groupby("eval")["topline_run"].unique().map(list).to_dict()
    expected = {"minimal_pairs": "text/1200k/w96", "topic_cloze": "pythia/x", "story_cloze": "text/1200k/w96"}
    assert {name: best[name] for name in expected} == {name: [run] for name, run in expected.items()}
    bare = replace(results, tables=replace(results.tables, runs=runs.assign(tokenizer="units")))
    assert numbers("benchmarks", bare)["topline"].isna().all()
    assert "topline:" not in FIGURES["benchmarks"].module.caption(bare)
    assert all("nan" not in cell for cell in tables_of(bare)["Benchmarks"].to_numpy().ravel())


def test_choices_and_answers_and_phenomena_have_tables_of_their_own(results):
    made = tables_of(results)
    choices, answers, phenomena = (
        made[name] for name in ("Benchmarks", "Question answering", "By phenomenon: Minimal pairs")
    )
    assert "By phenomenon: Topic Cloze" not in made, "a single subset says what the whole says"
    cells = choices[(choices["family"] == "speech units") & (choices["benchmark"] == "Minimal pairs")]
    assert list(cells["average"]) == ["over questions", "macro"]
    assert all("[" in cell for cell in cells["mean, whole (headline)"]) and "±" in cells["sum, whole"].iloc[0]
    assert cells["questions"].iloc[0] == "400 (800 items, 3 dropped)"
    old = choices[choices["benchmark"] == "Story Cloze"]
    assert all("±" in cell for cell in old["mean, whole (headline)"]) and set(old["questions"]) == {"400"}
    assert list(answers["headline"]) == ["", "at chance"] and answers["questions"].iloc[0] == "200 (5 cut)"
    assert {"exact match", "F1"} <= set(answers.columns) and set(answers["benchmark"]) == {"WebQuestions"}
    assert list(phenomena["subset"]) == ["agreement", "order"] and "speech units" in phenomena.columns
    assert not any("/" in name for name in phenomena["subset"]), "paradigms are left to the table of scores"


def test_a_study_without_runs_is_nothing_to_draw(results):
    runs = results.runs.assign(studies="scaling")
    other = replace(results, tables=replace(results.tables, runs=runs))
    for name in ("synthetic", "tokenizers"):
        with pytest.raises(NothingToDraw, match=name):
            FIGURES[name].module.draw(other)


def test_the_synthetic_figure_shows_one_run_of_each_point(results):
    """Its lines join sizes; the further seeds of a point are no sizes."""
    everything = replace(results.tables, runs=results.runs.assign(studies="synthetic"))
    rows = numbers("synthetic", replace(results, tables=everything))
    assert results.runs["seed"].nunique() > 1
    assert len(rows) and not rows.duplicated(["measure", "family", "params_total", "tokens"]).any()


def test_own_runs_of_the_interleaved_study_stand_beside_the_published_ones(results, mixed):
    for name in ("interleaved_scaling", "interleaved_ablation"):
        rows = numbers(name, mixed)
        assert {"own"} < set(rows["status"]) and "own" not in set(numbers(name, results)["status"])
        assert "No finished run of our own" in FIGURES[name].module.caption(results)
        assert "No finished run" not in FIGURES[name].module.caption(mixed)
        assert drawn(name, mixed) != drawn(name, results)


def test_a_ratio_to_exponents_at_chance_means_nothing(results):
    exponents = [fit for fit in results.fits if fit.law == downstream.LAW and fit.measure == "topic_cloze"]
    flags = ("at chance: gamma means nothing",)
    guessing = [replace(fit, flags=flags) if fit.family == "units" else fit for fit in exponents]
    ratio = Fit(law="compute_ratio", family="units-text", measure="topic_cloze", params={"ratio": 2.0})
    rows = numbers("gammas", replace(results, fits=[*guessing, ratio]))
    own = rows[(rows["status"] == "own") & (rows["law"] == "compute_ratio")]
    assert list(own["flags"].str.startswith("at chance")) == [True]
