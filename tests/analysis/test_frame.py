"""Collecting: rows, divisions, identities and what a malformed folder is told."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import frame
from analysis.columns import TABLES
from analysis.noise import seed_spread
from data.vocabulary import joined
from slm.runlog import RunLog
from slm.spec import Source, SpanSpec, TokenizerSpec


def one_run(synthetic, folder, family="units"):
    spec = synthetic.recipe(family, "w32", "300k")
    synthetic.write_run(folder, spec, 0.0, np.random.default_rng(0))
    return spec, folder / "runs" / "micro" / spec.name


def test_tables_have_the_documented_columns_and_every_run(tables, synthetic):
    for name, columns in TABLES.items():
        assert list(getattr(tables, name).columns) == list(columns)
    expected = {(family, size, budget) for points in synthetic.STUDIES.values() for family, size, budget in points}
    first = tables.runs[tables.runs["seed"] == 0]
    assert set(zip(first["family"], first["size"], first["budget"], strict=True)) == expected
    shared = tables.runs.set_index("name").loc["units/1200k/w32", "studies"]
    assert shared == "scaling;synthetic"


def test_rates_are_sums_divided_and_missing_where_they_mean_nothing(synthetic, tmp_path):
    spec, _ = one_run(synthetic, tmp_path)
    one_run(synthetic, tmp_path, "text")
    runs = frame.collect(tmp_path, "micro")[0].runs.set_index("family")
    row = runs.loc["units"]
    loss = float(synthetic.law("units", row["params_total"], spec.train.tokens))
    assert row["nats_per_token"] == pytest.approx(loss, rel=1e-12)
    assert row["nats_per_second"] == pytest.approx(loss * synthetic.UNITS / synthetic.SECONDS, rel=1e-12)
    assert row["flops_6n"] == 6.0 * row["params_total"] * row["tokens"]
    assert np.isnan(runs.loc["text", "nats_per_unit"]) and np.isnan(runs.loc["text", "nats_per_second"])


def test_scores_tell_their_interval_and_chance_and_old_rows_that_they_do_not(synthetic, tmp_path):
    _, folder = one_run(synthetic, tmp_path)
    scores = frame.collect(tmp_path, "micro")[0].scores
    keys = ["eval", "subset", "metric"]
    logged = {tuple(row[key] for key in keys): row for row in RunLog(folder).rows("scores")}
    assert len(scores) == len(logged) and {"macro", "agreement/a"} <= set(scores["subset"])
    for row in scores.to_dict("records"):
        source = logged[tuple(row[key] for key in keys)]
        if row["eval"] == "story_cloze":
            assert np.isnan([row["low"], row["high"], row["chance"]]).all()
            assert (row["items"], row["dropped"], row["truncated"]) == (row["n"], 0, 0)
        else:
            told = [key for key in source if key in row]
            assert [row[key] for key in told] == [source[key] for key in told]
            assert {"low", "high", "items", "chance", "dropped", "truncated"} <= set(told)


def test_a_single_question_has_no_error(synthetic, tmp_path):
    _, folder = one_run(synthetic, tmp_path)
    log = RunLog(folder)
    row = log.rows("scores")[0] | {"n": 1, "items": 1, "stderr": None, "low": None, "high": None}
    log.write("scores.jsonl", [row])
    found = frame.collect(tmp_path, "micro")[0].scores.iloc[0]
    assert np.isnan([found["stderr"], found["low"], found["high"]]).all() and found["chance"] == 0.5


def test_unique_tokens_are_those_that_were_counted(synthetic, tmp_path):
    spec, folder = one_run(synthetic, tmp_path)
    assert frame.collect(tmp_path, "micro")[0].runs.loc[0, "epochs"] == 1.0
    done = json.loads((folder / "done.json").read_text())
    done["sources"][0]["unique_tokens"] = spec.train.tokens // 4
    (folder / "done.json").write_text(json.dumps(done))
    row = frame.collect(tmp_path, "micro")[0].runs.loc[0]
    assert (row["unique_tokens"], row["epochs"]) == (spec.train.tokens // 4, 4.0)


def test_what_is_interleaved_is_counted_whoever_interleaves_it(synthetic, tmp_path):
    """On line by the source's spans, or in the store already; the spans that pairs are cut into interleave nothing."""
    spec, _ = one_run(synthetic, tmp_path)
    text = TokenizerSpec(kind="text", vocabulary=300)
    joint = replace(spec.mix[0].store, tokenizer=joined(spec.mix[0].store.tokenizer, text))
    seen, cut = {"S": 7, "I": 11, "A": 13, "TS": 17}, {"I": SpanSpec(), "TS": SpanSpec()}
    stores = {form: replace(joint, form=form, spans=cut.get(form)) for form in seen}
    mix = tuple(Source(store=store, spans=SpanSpec() if form == "A" else None) for form, store in stores.items())
    model = replace(spec.model, vocabulary=joint.tokenizer.vocabulary)
    several = replace(spec, name="units/several", mix=mix, model=model)
    synthetic.write_run(tmp_path, several, 0.0, np.random.default_rng(0))
    path = tmp_path / "runs" / "micro" / "units" / "several" / "done.json"
    done = json.loads(path.read_text())
    done["sources"] = [{"tokens": count, "unique_tokens": count, "speech_share": 0.3} for count in seen.values()]
    path.write_text(json.dumps(done))
    runs = frame.collect(tmp_path, "micro")[0].runs.set_index("name")
    assert (runs.loc["units/several", "interleaved_tokens"], runs.loc["units/several", "unique_tokens"]) == (24, 48)
    assert runs.loc[spec.name, "interleaved_tokens"] == 0
    path.write_text(json.dumps(done | {"sources": done["sources"][:1]}))
    with pytest.raises(ValueError, match="done.json"):
        frame.collect(tmp_path, "micro")


def test_curves_are_thinned_to_bin_means_that_end_at_the_last_step(tables):
    counts = tables.curves.groupby("name").size()
    assert counts.max() <= frame.CURVE_POINTS
    ends = tables.curves.groupby("name")["step"].max()
    assert (ends == tables.runs.set_index("name")["steps"].loc[ends.index]).all()


def test_csv_round_trips_exactly_and_is_rewritten_only_when_changed(tables, tmp_path):
    assert len(frame.write(tables, tmp_path, "micro")) == 5
    assert frame.write(tables, tmp_path, "micro") == []
    again = frame.read(tmp_path, "micro")
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(tables, name), check_exact=True, check_dtype=False)


def test_unfinished_runs_are_skipped_and_named(synthetic, tmp_path):
    one_run(synthetic, tmp_path)
    spec, folder = one_run(synthetic, tmp_path, "text")
    (folder / "done.json").unlink()
    found, unfinished = frame.collect(tmp_path, "micro")
    assert (len(found.runs), unfinished) == (1, [spec.name])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("val.jsonl", "sum_nats", "sum_bits"),
        ("scores.jsonl", '"value"', '"result"'),
        ("done.json", "unique_tokens", "distinct_tokens"),
        ("done.json", "validation", "valid"),
        ("train.jsonl", '"nats"', '"loss"'),
        ("val.jsonl", "units-validation", "units-somewhere"),
        ("done.json", '"tokens": 299008', '"tokens": 5'),
        ("env.json", "{", "["),
    ],
)
def test_malformed_files_are_errors_that_name_the_file(synthetic, tmp_path, file, old, new):
    _, folder = one_run(synthetic, tmp_path)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=file):
        frame.collect(tmp_path, "micro")


def test_a_sweep_that_lists_another_recipe_is_an_error(synthetic, tmp_path):
    spec, _ = one_run(synthetic, tmp_path)
    sweeps = tmp_path / "sweeps" / "micro"
    sweeps.mkdir(parents=True)
    listed = {"study": "scaling", "question": "?", "runs": [{"name": spec.name, "fingerprint": "f" * 12}]}
    (sweeps / "scaling.json").write_text(json.dumps(listed))
    with pytest.raises(ValueError, match="scaling"):
        frame.collect(tmp_path, "micro")
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(ValueError, match="SLM_ROOT"):
        frame.collect(tmp_path, "micro")


def test_seed_spread_groups_runs_that_differ_by_seed_alone(tables):
    spread = seed_spread(tables.runs, tables.scores)
    row = spread[(spread["family"] == "units") & (spread["measure"] == "nats_per_token")].iloc[0]
    seeds = tables.runs[(tables.runs["family"] == "units") & (tables.runs["size"] == "w64")]
    values = seeds.loc[seeds["budget"] == "600k", "nats_per_token"]
    assert (row["seeds"], row["size"], row["budget"]) == (3, "w64", "600k")
    assert row["sd"] == pytest.approx(np.std(values, ddof=1))
