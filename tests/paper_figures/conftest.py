"""Results to draw: the synthetic sweep with its laws, the published evidence, a grid with budgets and repeats."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import frame, isoflop, laws, parametric, repeats
from analysis.bootstrap import Resampling
from analysis.columns import TABLES
from paper_figures.catalogue import FIGURES
from paper_figures.results import NothingToDraw, Results, load_published

FEW = Resampling(count=60)
MIXED = ("knowledge", "interleaving", "crossmodal", "speakers", "interleaved_scaling", "interleaved_ablation")
MIXED += ("supervised",)
TRUTH = {"E": 1.73, "A": 13.9, "B": 39.8, "alpha": 0.25, "beta": 0.24, "RN_star": 31.0, "RD_star": 25.0}


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """The synthetic sweep, its laws, and schemes."""
    path = Path(__file__).parents[1] / "analysis" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic_sweep", path)
    synthetic = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(synthetic)
    root = tmp_path_factory.mktemp("figures")
    synthetic.write_sweep(root)
    tables = frame.collect(root, "micro")[0]
    schemes = pd.DataFrame(
        {"corpus": "stories", "scheme": ["units", "unigram"], "kind": ["units", "unigram"], "notes": ""}
        | {"bits_per_second_unigram": [100.0, 80.0], "phone_information": [0.5, 0.4], "abx_within": [0.1, 0.2]}
        | {"speaker_accuracy": [0.9, 0.8], "speaker_chance": 0.3}
    )
    fits = laws.fit_all(tables, ["units", "text"], laws.Options(resampling=FEW))
    return Results(scale="micro", tables=tables, fits=fits, schemes=schemes)


@pytest.fixture(scope="session")
def published():
    """What `--from published` draws."""
    return load_published()


@pytest.fixture(scope="session")
def grid():
    """Runs of a known surface: IsoFLOP curves of three budgets, and sizes that repeat 2e8 tokens."""
    random, rows = np.random.default_rng(0), []
    for flops in (1e17, 1e18, 1e19):
        best = float(parametric.optimum(TRUTH, flops)[0])
        rows += [(best * share, flops / (6 * best * share), np.inf) for share in (0.2, 0.45, 1, 2, 4.5)]
    rows += [(n, d, 2e8) for n in (2e7, 6e7, 2e8) for d in (1e8, 2e8, 6e8, 1.5e9)]
    found = []
    for n, d, unique in rows:
        n, d = int(n), int(d)
        u = int(min(d, unique))
        nats = float(repeats.predict(TRUTH, n, d, u)) * float(np.exp(random.normal(0, 0.001)))
        name = f"units/{d}/{n}"
        labels = {"name": name, "fingerprint": name, "point": name, "family": "units", "size": str(n), "seed": 0}
        labels |= {"studies": "isoflop;repeats", "schedule": "cosine", "tokenizer": "units", "unit_stream": "a"}
        counts = {"params_total": n, "tokens": d, "unique_tokens": u, "epochs": d / u, "flops_6n": 6.0 * n * d}
        found.append(labels | counts | {"nats_per_token": nats})
    frames = {name: pd.DataFrame(columns=list(columns)) for name, columns in TABLES.items()}
    frames["runs"] = pd.DataFrame(found).reindex(columns=list(TABLES["runs"]))
    runs = frames["runs"]
    fits = [fit(runs, "units", resampling=FEW) for fit in (isoflop.fit, repeats.fit, parametric.fit)]
    return Results(scale="micro", tables=frame.Tables(**frames), fits=fits)


MOST, BASE = 1_000_000, 1_000_000
SIZES = {"w48": 70_000, "w80": 250_000}
CHANGED = {  # family -> (share of MOST that is interleaved, all tokens, skill from speech to speech)
    "base-longer": (0.0, BASE + MOST, 0.0),
    "facts-apart": (1.0, BASE + MOST, 0.1),
    "no-pairs": (1.0, 1_760_000, 0.5),
    "rate-12.5": (1.0, BASE + MOST, 0.6),
    "spirit-lm": (0.667, BASE + MOST, 0.2),
    "from-text-lm": (1.0, BASE + MOST, 0.7),
}
ASKED = {  # benchmark -> chance, questions, forms
    "facts": (1 / 6, 216, ("SS", "ST", "TS", "TT")),
    "topic_cloze": (0.5, 300, ("SS", "ST", "TS", "TT")),
    "story_cloze": (0.5, 300, ("SS", "ST", "TS", "TT")),
    "minimal_pairs": (0.5, 528, ("S", "T")),
}
EASE = {"SS": 0.3, "ST": 0.5, "TS": 0.5, "TT": 0.9, "S": 0.3, "T": 0.9}


@pytest.fixture(scope="session")
def mixed():
    """The studies interleaved, text-to-token and crossmodal: accuracies rise with what is interleaved."""
    points = [
        ("interleaved", size, share, BASE + share * MOST, share) for size in SIZES for share in (0, 1 / 6, 1 / 3, 1)
    ]
    points += [(family, "w80", *told) for family, told in CHANGED.items()] + [("text-lm", "w80", 0.0, 524_288, 0.5)]
    points += [("from-speaker", "w96", share, BASE + share * MOST, 0.4) for share in (0.0, 1.0)]
    rows = {"runs": [], "scores": [], "losses": []}
    for family, size, share, tokens, skill in points:
        _add(rows, family, size, share * MOST, tokens, skill, "interleaved")
    _add(rows, "joint", "w64", 0.0, 2_097_152, 0.2, "crossmodal")
    for family in ("text-to-token", "token-to-text"):
        for rate in ("25", "12.5"):
            _add_speaker(rows, family, rate)
    frames = {name: pd.DataFrame(rows.get(name, []), columns=list(columns)) for name, columns in TABLES.items()}
    schemes = pd.DataFrame(
        {"corpus": "stories", "scheme": ["units", "vq25", "vq12.5-k64"], "kind": "units", "notes": ""}
        | {"tokens_per_second": [18.4, 24.2, 12.4], "vocabulary": [50, 256, 64], "used_vocabulary": 1.0}
        | {"perplexity": [45.0, 201.0, 60.0], "bits_per_second_unigram": [100.0, 187.0, 70.0]}
        | {"phone_information": [0.5, 0.4, 0.3], "held_out_wer": [np.nan, 0.09, 0.3]}
        | {"held_out_cer": [np.nan, 0.02, 0.1], "held_out_words": [np.nan, 2745, 2745]}
    )
    return Results(scale="micro", tables=frame.Tables(**frames), fits=[], schemes=schemes)


def _add(rows, family, size, interleaved, tokens, skill, study):
    scheme = "text" if family == "text-lm" else "joint-vq12.5" if family == "rate-12.5" else "joint-vq25"
    name, n = f"{family}/{round(interleaved / 1000)}k/{size}", SIZES.get(size, 130_000)
    text = family == "text-lm"
    labels = {"scale": "micro", "name": name, "fingerprint": name, "point": name, "family": family, "size": size}
    labels |= {"seed": 0, "params_total": n, "tokens": round(tokens), "flops_6n": 6.0 * n * tokens, "studies": study}
    labels |= {"tokenizer": "text" if text else "joint", "unit_stream": "" if text else scheme}
    store = f"stories-validation/{scheme}" if text else f"stories-validation-S/{scheme}"
    sums = {"sum_nats": 5e4, "num_tokens": 21_000, "num_units": 0 if text else 20_000, "seconds": 0 if text else 900.0}
    run = labels | {"interleaved_tokens": round(interleaved), "schedule": "wsd", "epochs": 1.0, "wall_seconds": 30.0}
    run |= {"val_store": store, "val_seconds": sums["seconds"], "nats_per_token": 2.4, **sums}
    rows["runs"].append({key: value for key, value in run.items() if key != "seconds"})
    forms = [""] if text else ["-S", "-T", "-ST", "-TS"]
    for place, form in enumerate(forms):
        loss = {"store": f"stories-validation{form}/{scheme}", "final": True, "is_val_store": place == 0, "step": 9}
        rates = {"nats_per_token": 1.1 + place, "nats_per_unit": 2.5, "nats_per_second": 50.0}
        rows["losses"].append(labels | sums | loss | rates)
    for benchmark, (chance, n, forms) in ASKED.items():
        if text and benchmark == "facts":
            continue
        for form in ("TT" if benchmark != "minimal_pairs" else "T",) if text else forms:
            skilled = chance + (0.95 - chance) * EASE[form] * skill
            for metric in ("accuracy_mean", *(("accuracy_ending_mean",) if benchmark != "minimal_pairs" else ())):
                value = skilled - 0.02 * (metric == "accuracy_mean")
                error = float(np.sqrt(value * (1 - value) / n))
                own = {"eval": benchmark if text else f"{benchmark}-{form}", "subset": "all", "metric": metric}
                own |= {"value": value, "n": n, "items": n, "chance": chance, "stderr": error}
                own |= {"low": value - 1.96 * error, "high": value + 1.96 * error}
                rows["scores"].append(labels | own | {"dropped": 0, "truncated": 0, "nats_per_token": 2.4})


def _add_speaker(rows, family, rate):
    form, name = "TS" if family == "text-to-token" else "ST", f"{family}/vq{rate}"
    store = f"stories-validation-{form}/joint-vq{rate}"
    labels = {"scale": "micro", "name": name, "fingerprint": name, "point": name, "family": family, "size": "w96"}
    labels |= {"seed": 0, "params_total": 400_000, "tokens": 1_500_000, "flops_6n": 3.6e12, "studies": "text-to-token"}
    told = {"val_store": store, "num_units": 900 * float(rate), "val_seconds": 1000.0, "interleaved_tokens": 0}
    told |= {"nats_per_token": 1.2, "epochs": 1.0, "wall_seconds": 60.0, "schedule": "wsd", "tokenizer": "joint"}
    rows["runs"].append(labels | told)
    for metric, value in (("wer", 0.2), ("wer_of_real", 0.1), ("length", 1.02)):
        own = {"eval": f"stories-validation-{form}", "subset": "all", "metric": metric, "value": value, "n": 400}
        own |= {"stderr": 0.01, "low": value - 0.02, "high": value + 0.02, "items": 400, "store": store}
        rows["scores"].append(labels | own | {"dropped": 0, "truncated": 0})


@pytest.fixture(scope="session")
def figures(results, published, grid, mixed):
    """Every figure that there is something to draw of, drawn once: (source, name) -> figure."""
    found = {}
    only = {"grid": ("isoflop", "repeats", "constants", "hindcast"), "mixed": MIXED}
    for source, of in (("own", results), ("published", published), ("grid", grid), ("mixed", mixed)):
        for name, entry in FIGURES.items():
            if name in only.get(source, FIGURES):
                try:
                    found[source, name] = entry.module.draw(of)
                except NothingToDraw:
                    continue
    return found
