"""The commands, end to end, where torch, lightning and transformers cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BLOCKED = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "lightning", "transformers"):
            raise ImportError(f"{name} must not be imported here")
sys.meta_path.insert(0, Blocker())
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=False)
"""


def command(root, *arguments):
    """A command in its own process; `(exit status, what it wrote)`."""
    environment = os.environ | {"SLM_ROOT": str(root), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments], env=environment, cwd=REPOSITORY, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_collect_fit_and_figures_run_without_torch_and_repeat_themselves(synthetic, tmp_path):
    synthetic.write_sweep(tmp_path, only=("text", "synthetic"))
    for step in (["analysis", "collect"], ["analysis", "fit", "--bootstrap", "50"], ["paper_figures"]):
        status, text = command(tmp_path, *step)
        assert status == 0, text
    assert "tokenizers: left out" in text
    results = tmp_path / "results" / "micro"
    first = contents(results)
    page = first[Path("report.html")].decode()
    drawn = [path for path in first if path.suffix == ".svg"]
    assert page.count("<svg") >= len(drawn) >= 6 and "http-equiv" not in page and "<script" not in page
    assert {path.suffix for path in first if path.parts[0] == "figures"} == {".pdf", ".svg", ".csv", ".txt"}
    assert command(tmp_path, "paper_figures")[0] == 0
    assert contents(results) == first


def test_published_numbers_and_a_table_of_anybody_need_no_torch(tmp_path):
    status, text = command(tmp_path, "analysis", "fit", "--from", "published", "--bootstrap", "100")
    assert status == 0 and "differs, print" in text, text
    runs = REPOSITORY / "analysis" / "published" / "released_runs.csv"
    asked = ["--table", str(runs), "--map", "N=n_total,D=tokens_seen,C=C_6ND,tstorycloze=tstorycloze", "--law"]
    status, text = command(tmp_path, "analysis", "fit", *asked, "downstream", "--out", str(tmp_path / "fit.json"))
    assert status == 0, text
    found = json.loads((tmp_path / "fit.json").read_text())
    assert found["params"]["gamma"] == pytest.approx(0.0243, abs=5e-5) and len(found["rows"]) == 31


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analysis", "collect"], "SLM_ROOT"),
        (["analysis", "fit"], "analysis collect"),
        (["paper_figures"], "analysis collect"),
        (["paper_figures", "nonsense"], "loss_envelope"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path, arguments, said):
    status, text = command(tmp_path, *arguments)
    assert status == 2 and said in text and text.startswith("error:") and text.count("\n") == 1
