"""How long every figure and table from published numbers takes, in a new process where torch cannot be imported.

`python tests/benchmarks/bench_published.py`: `python -m analysis fit --from published`, then `python -m paper_figures
--from published`, into an empty root. Wanted: at most 15 s for the figures on 2 cores. The alternative in the same run
is what importing torch alone would cost each process.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from timing import medians, show

REPOSITORY = Path(__file__).parents[2]
BLOCKED = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "lightning", "transformers"):
            raise ImportError(f"{name} must not be imported here")
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=False)
"""


def command(code: str, *arguments: str) -> None:
    """A new process in an empty root; an error ends the benchmark."""
    with tempfile.TemporaryDirectory() as root:
        environment = os.environ | {"SLM_ROOT": root, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(done.stderr)


def main() -> None:
    found = medians(
        3,
        fits=lambda: command(BLOCKED, "analysis", "fit", "--from", "published"),
        figures=lambda: command(BLOCKED, "paper_figures", "--from", "published"),
        torch=lambda: command("import torch"),
    )
    show(
        "Published numbers, new processes",
        [
            ("fits", f"{found['fits']:.1f} s"),
            ("figures, tables and report", f"{found['figures']:.1f} s"),
            ("import torch alone", f"{found['torch']:.1f} s"),
            ("figures / import torch", f"{found['figures'] / found['torch']:.1f}"),
        ],
    )


if __name__ == "__main__":
    main()
