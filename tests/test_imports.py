"""The arrows of the design: which folder may import which, held against the code's own import statements."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"slm", "data", "experiments", "analysis", "paper_figures", "tests"}
SOUND = {"soundfile", "soxr", "espeakng_loader"}
TOKENIZERS = {"sentencepiece"}
TRAINING = {"torch", "lightning", "transformers"}
LIGHT_SLM = {"slm.spec", "slm.flops", "slm.runlog", "slm.atomic"}
# Folder -> (of ours, it may import; of others, it may not).
ARROWS = {
    "slm": ({"slm"}, SOUND | TOKENIZERS),
    "slm/speech": ({"slm"}, TOKENIZERS),
    "data": ({"data", "slm"}, TRAINING),
    "experiments": ({"experiments", "data", "slm"}, SOUND | TOKENIZERS),
    "analysis": ({"analysis"} | LIGHT_SLM, TRAINING | SOUND | TOKENIZERS),
    "paper_figures": ({"paper_figures", "analysis"}, TRAINING | SOUND | TOKENIZERS),
}


def modules(folder: str) -> list[Path]:
    inside = sorted((ROOT / folder).rglob("*.py"))
    return [path for path in inside if folder != "slm" or "speech" not in path.relative_to(ROOT).parts]


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names] if node.module in OURS else [node.module]
    return found


def is_allowed(name: str, allowed: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[: i + 1]) in allowed for i in range(len(parts)))


@pytest.mark.parametrize("folder", ARROWS)
def test_arrows(folder):
    allowed, forbidden = ARROWS[folder]
    assert modules(folder), f"no modules in {folder}"
    for path in modules(folder):
        for name in imports(path):
            top = name.split(".")[0]
            assert top not in OURS or is_allowed(name, allowed), f"{path.relative_to(ROOT)} imports {name}"
            assert top not in forbidden, f"{path.relative_to(ROOT)} imports {name}"


def test_speech_is_imported_by_data_only_and_never_by_training():
    for path in modules("slm"):
        assert not any(name.startswith("slm.speech") for name in imports(path)), path


def test_the_installed_package_imports_nothing_at_the_door():
    assert (ROOT / "slm/__init__.py").read_text() == ""


@pytest.mark.parametrize("command", ["data", "experiments", "analysis", "paper_figures"])
def test_commands_answer_help_without_torch(command):
    code = f"import sys; sys.modules.update(torch=None, lightning=None, transformers=None); import {command}.__main__"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
