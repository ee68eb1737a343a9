"""The report: self-contained, every run named, the published evidence marked and beside our own; the command."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from paper_figures import report, sections, style
from paper_figures.catalogue import FIGURES

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


@pytest.fixture(scope="module")
def pictures(figures):
    """source -> name -> picture."""
    found = {"own": {}, "published": {}}
    for (source, name), figure in figures.items():
        if source in found:
            found[source][name] = report.Picture(svg=style.rendered(figure, "svg").decode(), caption=f"about {name}.")
    return found


def command(root, *arguments):
    """A command in its own process; `(exit status, what it wrote)`."""
    environment = os.environ | {"SLM_ROOT": str(root), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, "paper_figures", *arguments],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def check(page):
    """Well-formed where it matters, fetching nothing, without a stray NaN."""
    assert "<td>nan" not in page and "<td>None" not in page and "<script" not in page and "http-equiv" not in page
    for tag in ("small", "td", "tr", "table", "p", "li", "figure", "svg", "div"):
        assert len(re.findall(rf"<{tag}[\s>]", page)) == page.count(f"</{tag}>"), tag
    ids = re.findall(r' id=["\']([^"\']+)', page)
    assert len(ids) == len(set(ids))


def test_the_report_names_every_run_and_sets_the_published_evidence_beside(results, pictures):
    alone = {name: picture for name, picture in pictures["published"].items() if not FIGURES[name].is_beside}
    page = report.page(results, pictures["own"], alone)
    check(page)
    assert all(name in page for name in results.runs["name"]) and "at chance" in page
    assert "(published)" in page and "(published and own)" in page
    own, evidence = page.split("<h2>Published evidence</h2>")
    assert "id='gammas'" in evidence and "id='published-loss_envelope'" in evidence and "id='loss_envelope'" in own
    for mark in ("published", "re-evaluated", "derived", "second-hand"):
        assert f"{mark}:" in evidence, mark
    assert "differs, print" in evidence and "github.com/tiagoCuervo/slm_scaling" in evidence


def test_the_report_of_the_published_evidence_alone_has_no_runs_of_ours(published, pictures):
    page = report.page(published, pictures["published"], {})
    check(page)
    assert "<h2>All runs</h2>" not in page and "marked own" not in page and "TWIST" in page


def test_the_report_of_bare_loss_runs_leaves_scores_out(results):
    runs = results.runs[results.runs["family"] == "text"]
    scores, losses = results.scores.iloc[:0], results.tables.losses.iloc[:0]
    bare = replace(results, tables=replace(results.tables, runs=runs, scores=scores, losses=losses), fits=[])
    page = report.page(bare, {}, {})
    check(page)
    headings = [heading for heading, _, _ in sections.tables(bare)]
    assert headings == ["Spread over seeds", "All runs"] and "<h2>Benchmarks</h2>" not in page
    assert sections.duration(7505) == "2 h 05 min" and sections.duration(59.6) == "1 min 00 s"


def test_published_figures_are_drawn_from_nothing_but_the_code(tmp_path):
    status, said = command(tmp_path, "--from", "published")
    assert status == 0, said
    folder = tmp_path / "results" / "published"
    assert (folder / "report.html").exists() and (folder / "planner.html").exists()
    drawn = {path.stem for path in (folder / "figures").iterdir()}
    absent = set(FIGURES) - drawn
    assert all(f"{name}: left out, not published" in said for name in absent) and len(drawn) >= 14
    for name in drawn:
        assert {path.suffix for path in (folder / "figures").glob(f"{name}.*")} == {".pdf", ".svg", ".csv", ".txt"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["isoflop", "--from", "published"], "not published"),
        (["--from", "published", "--scale", "micro"], "one place"),
        (["--from", "somewhere"], "published"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path, arguments, said):
    status, text = command(tmp_path, *arguments)
    assert status == 2 and said in text and text.startswith("error:") and text.count("\n") == 1
