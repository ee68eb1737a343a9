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


@pytest.fixture(scope="session")
def figures(results, published, grid):
    """Every figure that there is something to draw of, drawn once: (source, name) -> figure."""
    found = {}
    for source, of in (("own", results), ("published", published), ("grid", grid)):
        for name, entry in FIGURES.items():
            if source != "grid" or name in ("isoflop", "repeats", "constants", "hindcast"):
                try:
                    found[source, name] = entry.module.draw(of)
                except NothingToDraw:
                    continue
    return found
