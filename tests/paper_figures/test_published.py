"""What is drawn of the papers' numbers: golden values, marks of whose they are, and that absent ones are said to be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import evidence
from analysis.fit import STATUSES
from paper_figures import style
from paper_figures.catalogue import FIGURES
from paper_figures.results import NothingToDraw

GOLDEN = {  # family, C -> N_opt, D_opt, loss: the constants as printed in Table 5, C = 6ND
    ("cuervo2024", 1e18): (3.4593e7, 4.8179e9, 2.10004),
    ("cuervo2024", 1e21): (1.0195e9, 1.6348e11, 1.88882),
    ("cuervo2024-unigram", 1e19): (1.3818e8, 1.2062e10, 1.86837),
    ("muennighoff2023", 1e20): (9.1166e8, 1.8282e10, 2.63195),
}
ABSENT = ("isoflop", "sweep", "schemes", "benchmarks", "knowledge", "interleaving", "crossmodal")
ABSENT += ("speakers", "supervised")


def numbers(name, results):
    return FIGURES[name].module.numbers(results)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label)]


@pytest.mark.parametrize("name", FIGURES)
def test_every_number_has_a_mark_and_none_is_our_own(published, name):
    if name in ABSENT:
        with pytest.raises(NothingToDraw, match="^not published"):
            FIGURES[name].module.draw(published)
        return
    rows = numbers(name, published)
    words = rows["status"].str.split(r"; N ", regex=True).explode()
    assert len(rows) and set(words) <= set(STATUSES) - {"own"}
    caption = FIGURES[name].module.caption(published)
    assert "nan" not in caption and caption.endswith(".")


@pytest.mark.parametrize("name", [name for name, entry in FIGURES.items() if entry.is_beside])
def test_beside_our_own_the_published_numbers_are_the_same(results, published, name):
    ours, theirs = numbers(name, results), numbers(name, published)
    beside = ours[ours["status"] != "own"].reset_index(drop=True)
    pd.testing.assert_frame_equal(beside[theirs.columns], theirs, check_dtype=False)
    own = {"models", "datasets", "gammas", "constants"}
    assert (("own" in set(ours["status"])) or name not in own) and "own" not in set(theirs["status"])


def test_frontiers_are_those_of_the_printed_constants(published, figures):
    rows = numbers("loss_envelope", published).set_index(["family", "flops_6n"])
    for key, (n, d, loss) in GOLDEN.items():
        row = rows.loc[key]
        assert row["params_total"] == pytest.approx(n, rel=1e-4) and row["tokens"] == pytest.approx(d, rel=1e-4)
        assert row["value"] == pytest.approx(loss, rel=1e-5)
    assert set(rows["status"]) == {"derived"} and rows["low"].isna().all()
    figure = figures["published", "loss_envelope"]
    assert all("no losses published" in " ".join(text.get_text() for text in axes.texts) for axes in figure.axes)
    pieces = numbers("tokenizers", published).set_index(["family", "flops_6n"])["value"]
    assert pieces["cuervo2024-unigram", 1e19] == rows.loc[("cuervo2024-unigram", 1e19), "value"]
    assert "must not be compared" in FIGURES["tokenizers"].module.caption(published)


def test_table_4_is_printed_and_redone_and_the_difference_is_said(published):
    rows = numbers("gammas", published).set_index(["status", "law", "family", "measure"]).sort_index()
    printed = rows.loc[("published", "accuracy_compute", "cuervo2024-printed"), "value"]
    assert printed.to_dict() == {"sblimp-macro": 0.021, "tstorycloze": 0.025, "sstorycloze": 0.017}
    assert sorted(rows.loc[("published", "compute_ratio"), "value"]) == [1.56, 2.7, 3.14]
    again = rows.loc[("derived", "accuracy_compute", "cuervo2024-curves")]
    assert again.loc["sblimp-macro", "value"] == pytest.approx(0.0205, abs=5e-5)
    assert again.loc["tstorycloze", "value"] == pytest.approx(0.0252, abs=5e-5)
    unsure = again.loc["sstorycloze"]
    assert unsure["value"] == pytest.approx(0.0108, abs=5e-5) and unsure["high"] - unsure["low"] > 0.01
    caption = FIGURES["gammas"].module.caption(published)
    assert caption.count(": agrees.") == 2 and caption.count(": does not agree.") == 1
    constants = numbers("constants", published).set_index(["family", "constant"])["value"]
    assert constants["cuervo2024", "G"] == pytest.approx(0.126998, rel=1e-5)
    assert constants["cuervo2024", "a"] == pytest.approx(24 / 49) and constants["cuervo2024", "RN_star"] == 31.0


def test_the_printed_slope_is_drawn_through_the_line_that_is_redone(published):
    rows = numbers("performance_compute", published)
    assert (rows.loc[rows["kind"] == "run", "status"] == "re-evaluated").all()
    runs = rows[rows["kind"] == "run"]
    assert len(runs) == 4 * 31
    assert set(runs.loc[runs["part"] == "left out", "name"]) == {"823m-26b", "823m-82b"}
    of_curves = published.fit("accuracy_compute", f"{evidence.SPEECH}-curves", "sstorycloze")
    ringed = runs[(runs["part"] == "envelope") & (runs["measure"] == "sstorycloze")]
    assert set(ringed["name"]) == set(of_curves.kept)
    for measure, gamma in (("sblimp-macro", 0.021), ("sstorycloze", 0.017)):
        own = rows[rows["measure"] == measure]
        slope, law = (own[own["kind"] == kind] for kind in ("printed slope", "law"))
        assert set(slope["status"]) == {"published"} and set(law["status"]) == {"derived"}
        found = np.diff(np.log(slope["value"])) / np.diff(np.log(slope["flops_6n"]))
        np.testing.assert_allclose(found, gamma)
        middle = [float(np.log(part["value"]).mean()) for part in (slope, law)]
        assert middle[0] == pytest.approx(middle[1])
    assert rows.loc[(rows["measure"] == "sblimp") & (rows["kind"] == "printed slope")].empty, "Table 4 has the macro"


def test_accuracy_is_held_against_predicted_losses_and_says_so(published, figures):
    rows = numbers("performance_loss", published)
    largest = rows[(rows["name"] == "823m-82b") & (rows["measure"] == "tstorycloze")].iloc[0]
    assert largest["nats_per_token"] == pytest.approx(1.91308, abs=1e-5)
    assert largest["value"] == pytest.approx(0.7793)
    assert any("Table 5" in text for text in texts(figures["published", "performance_loss"]))
    assert "not published" in FIGURES["performance_loss"].module.caption(published)
    again = published.fit("accuracy_loss", evidence.SPEECH, "sstorycloze")
    assert again.status == "derived" and -0.88 < again.params["r"] < -0.83


def test_another_papers_numbers_stand_in_and_say_so(published, figures):
    rows = numbers("synthetic", published)
    printed = evidence.table("slam_table1").rows
    assert len(rows) == 3 * len(printed) and set(rows["source"]) == {evidence.table("slam_table1").source}
    assert sorted(100 * rows.loc[rows["measure"] == "tstorycloze", "value"]) == pytest.approx(
        sorted(printed["tstorycloze"])
    )
    assert "Slam" in figures["published", "synthetic"].legends[0].get_title().get_text()
    assert "Not published" in FIGURES["synthetic"].module.caption(published)


def test_second_hand_numbers_are_called_so_in_the_figure(published, figures):
    rows = numbers("interleaved_scaling", published)
    assert list(rows["interleaved_tokens"]) == [0, 1e11, 2e11, 6e11] and set(rows["status"]) == {"second-hand"}
    assert "second-hand numbers" in texts(figures["published", "interleaved_scaling"])


def test_no_band_is_promised_where_none_is_drawn(published):
    assert "band" not in FIGURES["repeats"].module.caption(published)


def test_the_ablations_are_those_printed(published):
    rows = numbers("interleaved_ablation", published).set_index(["table", "model", "measure", "form"])["value"]
    assert rows["spiritlm_table6", "no interleaving", "tstorycloze", "T2S"] == pytest.approx(0.575)
    assert rows["sims_table1", "synthetic", "tstorycloze-multispeaker", "S"] == pytest.approx(0.7235)
    assert rows["slam_interleaving", "speech only, 18,000 updates", "tstorycloze", "S"] == pytest.approx(0.7801)
    assert rows.between(0, 1).all() and not rows.index.duplicated().any()


def test_the_comparison_has_prints_and_the_reevaluation(published):
    rows = numbers("comparison", published).set_index(["status", "model"])
    best = rows.loc[("published", "Cuervo & Marxer best model")]
    assert list(best[["sblimp", "tstorycloze", "sstorycloze"]]) == pytest.approx([0.613, 0.78, 0.567])
    assert rows.loc[("re-evaluated", "gslm-scaling-823m-82b"), "tstorycloze"] == pytest.approx(0.7793)
    assert best["sblimp_average"] == "macro" and (rows["sblimp_average"] == "macro").sum() == 3


def test_hindcasts_of_all_laws_are_of_the_same_runs(published):
    held = numbers("hindcast", published)
    assert set(held["family"]) == {evidence.SPEECH} and held["law"].nunique() == 3


def test_our_largest_run_joins_the_comparison_where_it_was_asked_the_same(results):
    names = {"minimal_pairs": "sblimp", "topic_cloze": "tstorycloze"}
    scores = results.scores.assign(eval=results.scores["eval"].replace(names))
    other = replace(results, tables=replace(results.tables, scores=scores))
    rows = numbers("comparison", other)
    own = rows[rows["status"] == "own"].set_index("group")
    assert set(own["model"]) >= {"units/2400k/w128", "text/1200k/w96"}
    expected = scores.set_index(["name", "eval", "subset", "metric"])["value"]
    for model, value in own[["model", "sblimp"]].itertuples(index=False):
        if not pd.isna(value):
            assert value == expected[model, "sblimp", "macro", "accuracy_mean"]
    assert own["sstorycloze"].isna().all() and style.label("units") in own.index
    assert "No own run" in FIGURES["comparison"].module.caption(results)
