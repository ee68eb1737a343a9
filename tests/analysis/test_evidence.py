"""Published numbers: what follows from them, digit by digit, and that print and derivation stay apart."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from analysis import envelope, evidence, parametric, repeats
from analysis.bootstrap import Resampling
from analysis.columns import TABLES
from analysis.fit import STATUSES, from_json
from analysis.forecast import forecast
from analysis.laws import Options

PRINTED = {(fit.law, fit.family): fit.params for fit in evidence.fits() if fit.law != "accuracy_compute"}
CLOSED = {  # G, a, b, and N_opt, D_opt, loss at 1e18 to 1e21 FLOPs: arithmetic on Table 5, made apart from this code
    "cuervo2024": (
        (0.126998, 24 / 49, 25 / 49),
        (3.4592994e7, 4.8179312e9, 2.1000433),
        (1.0685235e8, 1.5597848e10, 2.0091281),
        (3.3005019e8, 5.0497370e10, 1.9405497),
        (1.0194734e9, 1.6348309e11, 1.8888202),
    ),
    "cuervo2024-unigram": (
        (0.054402562, 16 / 31, 15 / 31),
        (4.2103236e7, 3.9585239e9, 1.9558647),
        (1.3817979e8, 1.2061581e10, 1.8683692),
        (4.5349609e8, 3.6751511e10, 1.7951599),
        (1.4883415e9, 1.1198147e11, 1.7339041),
    ),
    "muennighoff2023": (
        (0.22330932, 0.5, 0.5),
        (9.1165647e7, 1.8281740e9, 3.5757948),
        (2.8829109e8, 5.7811938e9, 3.0100576),
        (9.1165647e8, 1.8281740e10, 2.6319506),
        (2.8829109e9, 5.7811938e10, 2.3792450),
    ),
}


@pytest.fixture(scope="module")
def everything():
    return evidence.all_fits(Options(resampling=Resampling(count=200)))


def test_every_table_has_a_title_a_source_and_a_status_that_is_not_ours():
    for name in evidence.names():
        found = evidence.table(name)
        assert found.title and found.source and found.status in STATUSES[1:] and len(found.rows), name
    with pytest.raises(ValueError, match="cuervo2024_table5"):
        evidence.table("table5")


@pytest.mark.parametrize("family", CLOSED)
def test_allocations_and_frontiers_follow_from_table_5(family):
    shares, *points = CLOSED[family]
    rows = evidence.frontier([fit for fit in evidence.fits() if fit.family == family])
    assert rows["flops"].tolist() == [1e18, 1e19, 1e20, 1e21] and set(rows["status"]) == {"published"}
    for row, (params, tokens, loss) in zip(rows.itertuples(), points, strict=True):
        assert (row.G, row.a, row.b) == pytest.approx(shares, rel=1e-6)
        assert (row.N_opt, row.D_opt, row.loss) == pytest.approx((params, tokens, loss), rel=1e-7)
        assert row.tokens_per_param == pytest.approx(tokens / params, rel=1e-7)


def test_the_optima_that_a_later_paper_quotes_follow_from_table_5():
    """Slam names 66M parameters as the optimum in its text, and plans a model of 78M by its compute."""
    speech = PRINTED[parametric.LAW, "cuervo2024"]
    assert parametric.optimum(speech, 3.74e18)[0] == pytest.approx(66e6, rel=1e-3)
    slam = parametric.training_flops(358_347_904, 17_625 * 131_072)
    assert slam == pytest.approx(4.967e18, rel=1e-4)
    assert parametric.optimum(speech, slam)[0] == pytest.approx(75.8e6, rel=1e-3)


def test_a_pure_power_law_through_the_frontier_of_table_5():
    flops = 10 ** np.arange(17, 20.55, 0.1)
    found = envelope.power_law(flops, parametric.frontier(PRINTED[parametric.LAW, "cuervo2024"], flops))
    assert found == pytest.approx((4.505, -0.01834), rel=1e-3)


def test_exponents_of_all_released_runs_by_least_squares():
    scores = evidence.tables().scores.astype({"flops_6n": float})
    found = {
        key: envelope.power_law(rows["flops_6n"], rows["value"])[1] for key, rows in scores.groupby(["eval", "subset"])
    }
    expected = {("sblimp", "macro"): 0.0176, ("sblimp", "all"): 0.0161}
    expected |= {("tstorycloze", "all"): 0.0234, ("sstorycloze", "all"): 0.0122}
    assert found == pytest.approx(expected, abs=5e-5)


def test_repeated_tokens_cost_what_the_printed_speech_constants_say():
    params = PRINTED[repeats.LAW, "cuervo2024"]
    found = repeats.predict(params, [823179264, 20710912], [82324720000, 108869760000], 10.89e9)
    assert found.tolist() == pytest.approx([1.9130781, 2.0287826], abs=5e-8)
    fresh = float(parametric.loss(params, 823179264, 82324720000))
    assert fresh == pytest.approx(1.90760, abs=5e-6)


def test_the_text_constants_in_full_give_their_source_s_own_losses():
    known = evidence.table("muennighoff2023_full_precision").rows.set_index("name")["value"]
    params = {name: float(np.exp(known[f"ln_{name}"])) for name in "EAB"}
    params |= {name: known[name] for name in ("alpha", "beta", "RN_star", "RD_star")}
    for n, d, u in ((6.34e9, 242e9, 25e9), (8.67e9, 178e9, 25e9)):
        told = known[f"L(N={n / 1e9:g}e9,D={d / 1e9:g}e9,U={u / 1e9:g}e9)"]
        assert float(repeats.predict(params, n, d, u)) == pytest.approx(told, rel=1e-14)


def test_the_released_runs_are_rows_like_ours():
    found = evidence.tables()
    assert {name: list(getattr(found, name).columns) for name in TABLES} == {n: list(c) for n, c in TABLES.items()}
    runs, scores = found.runs.set_index("name"), found.scores
    assert (len(runs), len(scores), set(runs["size"])) == (31, 124, {"20M", "85M", "155M", "309M", "823M"})
    largest = runs.loc["823m-82b"]
    assert largest["flops_6n"] == 6.0 * 823179264 * 82324720000 and largest["epochs"] == pytest.approx(7.5597, rel=1e-5)
    assert (largest["steps"], runs["nats_per_token"].notna().any()) == (66050, False)
    best = scores[scores["name"] == "823m-82b"].set_index(["eval", "subset"])
    assert best["value"].to_dict() == pytest.approx(
        {("sblimp", "macro"): 0.6133, ("sblimp", "all"): 0.5836}
        | {("tstorycloze", "all"): 0.7793, ("sstorycloze", "all"): 0.5692}
    )
    assert best.loc[("sstorycloze", "all"), "stderr"] == pytest.approx(0.01145, abs=5e-6)
    copied = evidence.table("cuervo2024_best_model_reevaluated").rows.set_index("tokens_seen")
    assert (copied.loc[82324720000, "sblimp_pair"], copied.loc[26330200000, "tstorycloze"]) == (58.36, 76.7)


def test_table_4_again_agrees_where_it_does_and_says_where_not():
    found = evidence.agreement(evidence.redone(400)).set_index(["measure", "rows"])
    gammas = {
        "sblimp-macro": (0.0205, 0.0185, 0.0215),
        "sblimp": (0.0182, 0.0167, 0.0160),
        "tstorycloze": (0.0252, 0.0243, 0.0252),
        "sstorycloze": (0.0108, 0.0107, 0.0088),
    }
    for measure, expected in gammas.items():
        assert found.loc[measure, "gamma"].tolist() == pytest.approx(expected, abs=5e-5)
    curves = found.xs(evidence.CURVES, level="rows")
    assert curves["printed"].to_dict() == dict(zip(gammas, (0.021, 0.021, 0.025, 0.017), strict=True))
    assert curves.loc[["sblimp-macro", "tstorycloze"], "verdict"].tolist() == ["agrees", "agrees"]
    assert curves.loc["sstorycloze", "verdict"] == "differs, print outside the interval"
    assert found.loc[("sblimp-macro", "31 rows"), "verdict"] == "differs, print inside the interval"
    for row in found.itertuples():
        inside = "inside" if row.low <= row.printed <= row.high else "outside"
        assert row.verdict in ("agrees", f"differs, print {inside} the interval")
        assert (row.verdict == "agrees") == (abs(row.gamma - row.printed) <= 0.001)
    wide = curves.loc["sstorycloze"]
    assert wide["high"] - wide["low"] > wide["gamma"]  # as wide as the exponent itself
    bare = evidence.agreement(evidence.redone(0))
    assert bare["low"].isna().all() and set(bare["verdict"]) == {"agrees", "differs"}


def test_print_and_derivation_are_marked_and_survive_their_files(everything):
    statuses = {}
    for fit in everything:
        statuses.setdefault(fit.status, set()).add(fit.family)
        assert from_json(json.loads(json.dumps(asdict(fit)))) == fit
    assert statuses["published"] >= {"cuervo2024-printed", "pythia-printed", "cuervo2024-unigram", "muennighoff2023"}
    assert "own" not in statuses and len({fit.identifier for fit in everything}) == len(everything)
    assert all(bool(fit.draws) == bool(fit.rows) == bool(fit.intervals) for fit in everything)
    assert not any(fit.rows for fit in everything if fit.status == "published")


def test_ratios_are_exponents_and_not_multiples(everything):
    ratios = {(fit.family, fit.measure): fit.params["ratio"] for fit in everything if fit.law == "compute_ratio"}
    printed = [ratios["cuervo2024-printed-pythia-printed", m] for m in ("sblimp-macro", "tstorycloze", "sstorycloze")]
    assert printed == pytest.approx([0.066 / 0.021, 0.039 / 0.025, 0.046 / 0.017])
    assert ratios["cuervo2024-curves-pythia-printed", "sblimp-macro"] == pytest.approx(3.217, abs=5e-3)


def test_a_score_beyond_the_released_runs_is_forecast_with_a_warning(everything):
    rows = forecast(everything, "sblimp-macro", 0.80, "cuervo2024")
    power = next(row for row in rows if row.law == "accuracy_compute")
    assert 1e26 < power.flops.value < 1e27 and power.flops.low < power.flops.value < power.flops.high
    assert power.params_total.value * power.tokens.value * 6 == pytest.approx(power.flops.value)
    assert power.warnings[0].startswith("extrapolates 5.8 decades")
