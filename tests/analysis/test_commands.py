"""`fit` and `forecast` on own runs, on anybody's table and on published numbers, as a user types them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis import __main__ as commands
from analysis import fit as fits_of
from analysis import frame, laws, summary
from analysis.bootstrap import Resampling
from analysis.fit import Fit

TRUTH = {"E": 1.7, "A": 14.0, "B": 40.0, "alpha": 0.25, "beta": 0.24}
MAP = ("--map", "N=params,D=seen,loss=val/loss,U=unique,blimp=acc")


@pytest.fixture
def table(tmp_path):
    """Noise-free losses of 5 sizes, 4 token counts, seen once and four times over, and scores in per cent."""
    lines = ["params,seen,unique,val/loss,acc"]
    for n in np.geomspace(2e7, 8e8, 5).round().tolist():
        for d in np.geomspace(1e9, 4e10, 4).round().tolist():
            loss = TRUTH["E"] + TRUTH["A"] / n ** TRUTH["alpha"] + TRUTH["B"] / d ** TRUTH["beta"]
            lines += [f"{n:.0f},{d:.0f},{d:.0f},{loss!r},{100 * (1.2 - 0.3 * loss)!r}"]
            lines += [f"{n:.0f},{4 * d:.0f},{d:.0f},{0.98 * loss!r},"]
    path = tmp_path / "theirs.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A command in this process: (exit status, what it said)."""
    monkeypatch.setenv("SLM_ROOT", str(tmp_path / "root"))

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["analysis", *map(str, arguments)])
        status = 0
        try:
            commands.main()
        except SystemExit as stopped:
            status = stopped.code or 0
        told = capsys.readouterr()
        return status, told.out + told.err

    return run


def test_a_table_gives_the_law_on_screen_and_as_json(run, table, tmp_path):
    out = tmp_path / "fit.json"
    status, text = run(
        "fit", "--table", table, "--law", "parametric", *MAP, "--delta", 1e-3, "--bootstrap", 50, "--out", out
    )
    found = json.loads(out.read_text())
    assert status == 0, text
    assert {name: found["params"][name] for name in TRUTH} == pytest.approx(TRUTH, rel=1e-6)
    wanted = {"law", "params", "intervals", "stderr", "objective", "gradient_norm", "condition", "basins"}
    assert wanted | {"converged_fraction", "flags", "conventions", "rows"} <= set(found)
    assert found["conventions"]["huber_delta"] == 1e-3 and found["conventions"]["N"] == "params"
    assert found["conventions"]["read_as_per_cent"] == "blimp" and len(found["rows"]) == 20
    for said in (
        "E  ",
        "α",
        "hindcast",
        "gradient norm",
        "converged",
        "20 runs with repeated tokens left out",
        str(out),
    ):
        assert said in text
    assert (tmp_path / "root").exists() is False  # of a table, nothing is written but what --out says


def test_all_laws_of_a_table_go_to_a_folder(run, table, tmp_path):
    status, text = run("fit", "--table", table, *MAP, "--bootstrap", 20, "--out", tmp_path / "fits")
    assert status == 0, text
    names = {path.name.split(".")[0] for path in (tmp_path / "fits").iterdir()}
    of_laws = {law for name in ("parametric", "envelope", "repeats", "downstream") for law in laws.IDENTIFIERS[name]}
    assert names >= of_laws and "compute_ratio" not in names
    promised = run("forecast", "--fits", tmp_path / "fits", "--metric", "blimp", "--target", 60)
    assert promised[0] == 0 and "theirs reaches 60.0% on blimp" in promised[1] and "N = " in promised[1]
    (tmp_path / "there").touch()
    for place in ("one.json", "one.txt", "there"):
        status, text = run("fit", "--table", table, *MAP, "--bootstrap", 20, "--out", tmp_path / place)
        assert status == 2 and "name a folder, or fewer by --law and --only" in text and text.count("\n") == 1
    assert not (tmp_path / "one.json").exists() and not (tmp_path / "one.txt").exists()


def test_two_families_for_one_file_are_told_before_anything_is_printed(run, tmp_path):
    path = tmp_path / "two.csv"
    lines = [f"{family},{n}e8,{d}e9,{2 + 1 / n + 1 / d}" for family in "ab" for n in (1, 2, 4) for d in (1, 2, 4)]
    path.write_text("\n".join(["family,N,D,loss", *lines]) + "\n")
    asked = ("fit", "--table", path, "--law", "parametric", "--bootstrap", 0, "--out", tmp_path / "one.json")
    status, text = run(*asked)
    assert status == 2 and text.startswith("error:") and text.count("\n") == 1
    assert run(*asked, "--only", "a")[0] == 0 and (tmp_path / "one.json").is_file()


def test_rows_given_twice_are_flagged_in_their_family(run, tmp_path):
    path = tmp_path / "two.csv"
    lines = [f"{family},{n}e8,{d}e9,{2 + 1 / n + 1 / d}" for family in "ab" for n in (1, 2, 4) for d in (1, 2, 4)]
    path.write_text("\n".join(["family,N,D,loss", *lines, *lines[:2]]) + "\n")
    asked = ("fit", "--table", path, "--law", "parametric", "--bootstrap", 0, "--out", tmp_path / "fits")
    status, text = run(*asked)
    assert status == 0 and "given twice, 2 of the rows: row 19, row 20" in text, text
    twice = {}
    for file in (tmp_path / "fits").iterdir():
        found = json.loads(file.read_text())
        twice[found["family"]] = [flag for flag in found["flags"] if flag.startswith("given twice")]
    assert {family: len(flags) for family, flags in twice.items()} == {"a": 1, "b": 0}


def test_units_of_each_family_reach_its_fits(run, tmp_path):
    path = tmp_path / "two.csv"
    lines = [
        f"{family},{n}e8,{d}e9,{2 + 1 / n + 1 / d},total,nats per {unit}"
        for family, unit in (("a", "token"), ("b", "byte"))
        for n in (1, 2, 4)
        for d in (1, 2, 4)
    ]
    path.write_text("\n".join(["family,N,D,loss,n_convention,loss_unit", *lines]) + "\n")
    asked = ("fit", "--table", path, "--law", "parametric", "--bootstrap", 0, "--out", tmp_path / "fits")
    assert run(*asked)[0] == 0
    found = [json.loads(file.read_text()) for file in (tmp_path / "fits").iterdir()]
    units = {fit["family"]: (fit["conventions"]["N"], fit["conventions"]["loss_unit"]) for fit in found}
    assert units == {"a": ("N (total)", "nats per token"), "b": ("N (total)", "nats per byte")}


def test_runs_are_drawn_by_labels_that_the_table_has(run, table):
    for by in ("nonsense", "budget"):
        status, text = run("fit", "--table", table, *MAP, "--law", "parametric", "--by", by)
        assert status == 2 and f"cannot be resampled by '{by}'" in text and "size" in text
        assert "budget," not in text and "fingerprint" not in text and "studies" not in text


def test_a_target_that_guessing_reaches_has_no_number(run):
    status, text = run("forecast", "--metric", "sblimp", "--target", 45, "--from", "published")
    assert status == 0 and "no compute follows for 45.0% on sblimp" in text and "says accuracy" not in text, text
    assert "Warning: no more than chance: guessing gets 50.0%" in text


def test_one_fit_is_forecast_with_what_makes_it_worthless(run, tmp_path):
    path, gamma = tmp_path / "fit.json", 0.02
    flags = ("at chance: gamma means nothing", "3 rows left out")
    known = Fit(law="accuracy_compute", family="us", measure="blimp", params={"Q0": 0.25, "gamma": gamma}, flags=flags)
    fits_of.write_one(known, path)
    status, text = run("forecast", "--fits", path, "--metric", "blimp", "--target", 60)
    assert status == 0 and "Warning: accuracy_compute of blimp: at chance: gamma means nothing" in text, text
    assert "Warning: accuracy_compute of blimp: 3 rows" not in text
    fits_of.write_one(replace(known, params={"gamma": gamma}), path)
    status, text = run("forecast", "--fits", path, "--metric", "blimp", "--target", 60)
    assert status == 2 and "of 'blimp' only an exponent is printed" in text and text.count("\n") == 1
    path.write_text("[1]")
    status, text = run("forecast", "--fits", path, "--metric", "blimp", "--target", 60)
    assert status == 2 and "fit.json: not a fit" in text and text.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "delta"),
    [("paper", 0.03), ("chinchilla", 1e-3), ("absolute", 0.0), ("squares", "infinite: least squares"), ("0.2", 0.2)],
)
def test_delta_goes_by_name_and_number(run, table, tmp_path, given, delta):
    out = tmp_path / "fit.json"
    told = run("fit", "--table", table, "--law", "parametric", *MAP, "--delta", given, "--bootstrap", 0, "--out", out)
    assert told[0] == 0, told[1]
    found = json.loads(out.read_text())
    assert found["conventions"]["huber_delta"] == delta and found["params"]["alpha"] == pytest.approx(0.25, rel=1e-5)
    assert found["intervals"] == {} and "No intervals" in told[1]


def test_exponents_may_be_tied_and_sizes_drawn_together(run, table, tmp_path):
    out = tmp_path / "fit.json"
    asked = ("fit", "--table", table, "--law", "parametric", *MAP, "--bootstrap", 20, "--seed", 3, "--out", out)
    status, text = run(*asked, "--tied", "--by", "size")
    found = json.loads(out.read_text())
    assert status == 0 and found["params"]["alpha"] == found["params"]["beta"], text
    assert (found["conventions"]["resampled"], found["conventions"]["seed"]) == ("size", 3)


def test_one_size_alone_is_fitted_to_nothing_and_said_so(run, tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("N,D,loss\n" + "".join(f"1e8,{d}e9,{2 + 1 / d}\n" for d in range(1, 9)))
    status, text = run("fit", "--table", path, "--law", "parametric")
    assert status == 0 and "not fitted: 1 model sizes" in text


def test_own_runs_keep_the_fits_of_other_laws(run, tables, tmp_path):
    frame.write(tables, tmp_path / "root", "micro")
    folder = tmp_path / "root" / "results" / "micro" / "fits"
    assert run("fit", "--only", "units", "--law", "envelope", "--bootstrap", 20)[0] == 0
    first = {path.name for path in folder.iterdir()}
    assert first == {f"{law}.units.nats_per_token.json" for law in laws.IDENTIFIERS["envelope"]}
    status, text = run("fit", "--only", "units", "--only", "text", "--bootstrap", 20, "--law", "compare")
    assert status == 0 and "units-text" in text and "f = 10 needs" in text
    assert {path.name for path in folder.iterdir()} > first
    status, text = run("fit", "--law", "repeats")
    assert status == 2 and "law repeats: no run that saw its tokens more than 1.1 times" in text


def test_own_losses_of_another_unit_leave_out_who_has_none(run, tables, tmp_path):
    frame.write(tables, tmp_path / "root", "micro")
    status, text = run("fit", "--law", "envelope", "--column", "nats_per_second", "--bootstrap", 0)
    assert status == 0 and "units" in text and " text " not in text
    status, text = run("fit", "--column", "nats")
    assert status == 2 and "nats_per_second" in text


def test_published_numbers_are_fitted_printed_and_forecast(run, tmp_path):
    status, text = run("fit", "--from", "published", "--bootstrap", 100)
    assert status == 0, text
    for said in (
        "0.0205",
        "0.0252",
        "differs, print outside the interval",
        "2.1000",
        "3.46e+07",
        "published",
        "derived",
        "×1389",
    ):
        assert said in text
    assert len(list((tmp_path / "root/results/published/fits").iterdir())) > 20
    status, text = run("forecast", "--metric", "tstorycloze", "--target", 90, "--from", "published")
    assert status == 0 and "90.0% on tstorycloze" in text and "Warning: extrapolates" in text
    status, text = run("forecast", "--metric", "blimp", "--target", 80, "--from", "published")
    assert status == 2 and "did you mean sblimp" in text and "tstorycloze" in text


def test_own_scores_are_forecast_for_chosen_families(run, tables, tmp_path):
    frame.write(tables, tmp_path / "root", "micro")
    assert run("fit", "--only", "units", "--bootstrap", 20)[0] == 0
    asked = ("forecast", "--metric", "minimal_pairs", "--family", "units")
    status, text = run(*asked, "--target", 0.8)
    assert status == 0 and "units reaches 80.0%" in text and "N = " in text
    assert run(*asked, "--target", 80) == (0, text)  # per cent


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "--scale", "micro", "--from", "published"], "one of --scale, --table and --from"),
        (["fit", "--from", "print"], "the only source besides own runs is published"),
        (["fit", "--from", "published", "--law", "isoflop"], "per-run losses are not published"),
        (["fit", "--from", "published", "--only", "us"], "no published family us; there are cuervo2024"),
        (["fit", "--law", "chinchilla"], "no law chinchilla; there are parametric, envelope"),
        (["fit", "--map", "N=a"], "--map names columns of a --table"),
        (["fit", "--table", "none.csv"], "none.csv"),
        (["fit", "--table", "none.csv", "--column", "nats_per_unit"], "of a --table is named by --map loss=COLUMN"),
        (["fit", "--law", "envelope", "--out", "x.json"], "x.json: several fits for one file"),
        (["forecast", "--fits", "none", "--metric", "blimp", "--target", "60"], "none"),
        (["forecast", "--fits", ".", "--from", "published", "--metric", "blimp", "--target", "60"], "--fits and"),
        (["forecast", "--fits", "analysis", "--metric", "blimp", "--target", "60"], "analysis: no fits; write some"),
        (["fit", "--delta", "-1"], "a number from 0 to inf, or one of paper, chinchilla"),
        (["fit", "--from", "published", "--by", "weather"], "cannot be resampled by 'weather'"),
        (["forecast", "--metric", "sblimp", "--target", "180", "--from", "published"], "--target 180: an accuracy"),
        (
            ["forecast", "--metric", "sblimp", "--target", "60", "--from", "published", "--family", "us"],
            "no fits of family us; there are",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(run, arguments, said):
    status, text = run(*arguments)
    assert status == 2 and said in text and text.startswith("error:") and text.count("\n") == 1


def test_help_names_every_law_and_option(run):
    status, text = run("fit", "--help")
    assert status == 0
    for said in (*laws.LAWS, "--table", "--from", "--map", "--delta", "--tied", "--bootstrap", "--by", "--out"):
        assert said in text


def test_laws_and_their_needs_are_listed_alike():
    assert set(laws.LAWS) == set(laws.NEEDS) == set(laws.IDENTIFIERS)


def test_diverged_runs_of_ours_stay_out_by_name(tables):
    def told(found):
        return {(fit.family, fit.law): [flag for flag in fit.flags if flag.startswith("left out")] for fit in found}

    runs, scores = tables.runs.copy(), tables.scores
    first, seed = (runs.index[runs["name"] == name][0] for name in ("units/300k/w32", "units/600k/w64"))
    runs.loc[first, "nats_per_token"], runs.loc[seed, "nats_per_token"] = np.nan, -np.inf
    broken = replace(tables, runs=runs, scores=scores)
    options = laws.Options(resampling=Resampling(count=0))
    found = laws.fit_all(broken, ["units", "text"], options, ("parametric", "envelope", "downstream"))
    flag = "left out, without a positive nats_per_token: units/300k/w32, units/600k/w64"
    flagged = told(found)
    for law in laws.OF_LOSS & {law for _, law in flagged}:
        assert flagged["units", law] == [flag] and flagged["text", law] == []
    own = next(fit for fit in found if fit.law == "loss_parametric" and fit.family == "units")
    names = {name for name, _ in own.rows}
    assert "units/600k/w64-seed1" in names and not names & {"units/300k/w32", "units/600k/w64"}, "the next seed speaks"
    by_loss = next(fit for fit in found if fit.law == "accuracy_loss" and fit.family == "units")
    assert any(flag.startswith("left out, without nats_per_token: units/300k/w32") for flag in by_loss.flags)
    lone = laws.fit_all(tables, ["units"], options, ("parametric",))[0]
    assert set(lone.params) == set(own.params) and lone.params != own.params


def test_the_huber_width_reaches_every_law_that_is_searched(tables):
    asked = laws.Options(delta=1e-3, resampling=Resampling(count=0))
    found = laws.fit_all(tables, ["units"], asked, ("parametric", "envelope"))
    widths = {fit.law: fit.conventions["huber_delta"] for fit in found if "huber_delta" in fit.conventions}
    assert widths == {"loss_parametric": 1e-3, "loss_envelope_offset": 1e-3}


def test_without_resamples_no_law_is_hindcast(tables):
    found = laws.fit_all(tables, ["units", "text"], laws.Options(resampling=Resampling(count=0)))
    assert not any(fit.hindcast or fit.intervals for fit in found)


def test_a_table_of_one_budget_is_fitted_and_written_without_a_law_in_compute(run, tmp_path):
    path, generator = tmp_path / "one.csv", np.random.default_rng(0)
    n = np.geomspace(1e7, 1e9, 9)
    loss = 2 + 0.1 * np.log(n / 1e8) ** 2 + generator.normal(0, 0.001, 9)
    lines = [f"{x:.0f},{1e18 / 6 / x:.0f},{y!r},{1 - y / 6!r}" for x, y in zip(n, loss.tolist(), strict=True)]
    path.write_text("\n".join(["N,D,loss,acc", *lines]) + "\n")
    status, text = run("fit", "--table", path, "--map", "blimp=acc", "--bootstrap", 50, "--out", tmp_path / "fits")
    assert status == 0, text
    for file in (tmp_path / "fits").iterdir():
        found = json.loads(file.read_text())
        if found["law"].startswith("loss_envelope") or found["law"] in ("accuracy_compute", "accuracy_error"):
            assert not found["params"] and found["flags"][0].startswith("not fitted"), found
        assert found["hindcast"] == {}


def test_families_with_odd_names_keep_files_apart(run, table, tmp_path):
    path = tmp_path / "two.csv"
    path.write_text(
        "family,N,D,loss\n"
        + "".join(
            f"{family},{n}e8,{d}e9,{2 + 1 / n + 1 / d}\n"
            for family in ("a/b", "a-b")
            for n in (1, 2, 4)
            for d in (1, 2, 4)
        )
    )
    asked = ("fit", "--table", path, "--law", "parametric", "--bootstrap", 0, "--out", tmp_path / "fits")
    assert run(*asked)[0] == 0
    assert {json.loads(file.read_text())["family"] for file in (tmp_path / "fits").iterdir()} == {"a/b", "a-b"}


def test_every_law_of_a_sweep_has_a_section_with_its_search(tables):
    options = laws.Options(resampling=Resampling(count=20))
    heard = []
    fits = laws.fit_all(tables, ["units", "text"], options, told=heard.append)
    assert heard == list(laws.LAWS)
    titles = [title for title, _, _ in summary.sections(fits)]
    assert len(set(titles)) == len(titles) >= len({fit.law for fit in fits})
    for _, rows, note in summary.sections(fits):
        assert {"family", "flags"} <= set(rows.columns) and note
        assert all(isinstance(cell, str) for cell in rows.to_numpy().ravel())
    assert laws.fit_all(tables, ["units", "text"], options) == fits  # seeded
