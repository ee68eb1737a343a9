"""A study that was killed five times at random gives the numbers of an undisturbed one, to the last bit."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.scales import SCALES
from experiments.studies import held_out_stores, runs_of
from tests.experiments.kills import facts, kill_and_finish

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """The tiny stores that the runs of `scaling` need."""
    root = tmp_path_factory.mktemp("kills")
    names = ["stories-train/units", *held_out_stores(runs_of("scaling", SCALES["tiny"])[0], SCALES["tiny"])]
    names += [f"{benchmark}/units" for benchmark in ("minimal_pairs", "topic_cloze", "story_cloze")]
    command = [sys.executable, "-m", "data", "prepare", *names, "--scale", "tiny", "--workers", "2"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"SLM_ROOT": str(root)}, check=True)
    return root


def below(prepared: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "stores").symlink_to(prepared / "stores")
    return folder


def test_five_kills_change_nothing(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    study = [sys.executable, str(Path(__file__).with_name("two_runs.py"))]
    calm, killed = below(prepared, tmp_path / "calm"), below(prepared, tmp_path / "killed")
    kill_and_finish(study, calm, 0, random.Random(), 0)
    seed = random.randrange(10**6)
    assert kill_and_finish(study, killed, 5, random.Random(seed), 3.0) == 5, f"seed {seed}"
    one, other = facts(calm), facts(killed)
    assert one.keys() == other.keys() and len(one) > 10
    assert [name for name in one if one[name] != other[name]] == [], f"seed {seed}"
