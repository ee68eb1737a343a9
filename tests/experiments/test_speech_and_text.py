"""Speech and text from nothing, at scale tiny, by the commands of `make interleaved`: tokenizer to spoken answer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.mixed import scheme
from data.stores import stores
from experiments.scales import SCALES
from experiments.studies import runs_of
from slm.atomic import read_json, read_jsonl
from slm.runlog import RunLog
from slm.store import TokenStore

REPOSITORY = Path(__file__).parents[2]
FIRST = ("*/vq12.5", "*-[ST]/joint-vq12.5", "*-[ST][ST]/joint-vq12.5", "*-[AC]/joint-vq12.5", "*/text")
CHAT = runs_of("chat", SCALES["tiny"])[0]


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"SLM_ROOT": str(root), "COLUMNS": "150"}
    command = [sys.executable, "-m", *arguments, "--scale", "tiny"]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)


def done(root: Path, *arguments: str) -> str:
    result = run(root, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("mixed")
    done(root, "data", "prepare", *FIRST, "--workers", "2")
    early = run(root, "data", "prepare", "knowledge-train-I/joint-vq12.5")
    assert early.returncode == 2 and "train text-to-token --scale tiny" in early.stderr
    assert len(early.stderr.strip().splitlines()) == 1, early.stderr
    done(root, "experiments", "train", "text-to-token", "--only", "*/vq12.5", "--workers", "2")
    done(root, "data", "prepare", "*-I*/joint-vq12.5")
    for only in ("interleaved/i3.1k/*", "*text-lm*", "real-words/*", "text-falls/*", "shared-head/*"):
        done(root, "experiments", "train", "interleaved", "--only", only, "--workers", "2")
    done(root, "experiments", "train", "chat")
    return root


def test_a_tokenizer_reports_how_it_reads(root):
    (folder,) = (root / "encoders").glob("whisper_vq-[0-9a-f]*[0-9a-f]")
    told = read_json(folder / "recipe.json") if (folder / "recipe.json").exists() else {}
    assert {"held_out_wer", "held_out_cer", "codes_used", "perplexity"} <= set(told)


def test_models_of_pairs_are_heard(root):
    for form, family in (("TS", "text-to-token"), ("ST", "token-to-text")):
        log = RunLog(root / "runs" / "tiny" / family / scheme(12.5))
        rows = {row["metric"]: row for row in log.rows("scores")}
        assert set(rows) == {"wer", "wer_of_real", "length"} and rows["wer"]["tokens_per_second"] > 0
        items = read_jsonl(log.folder / "items" / f"stories-validation-{form}.jsonl")
        assert rows["wer"]["value"] == sum(row["edits"] for row in items) / sum(row["words"] for row in items)
        (loss,) = log.rows("val")
        store = TokenStore(root / "stores" / "tiny" / loss["store"])
        assert loss["num_tokens"] == int((store.parts > 0).sum()) < store.num_tokens
        if form == "ST":
            assert rows["wer_of_real"]["value"] == 0


def test_facts_are_interleaved_by_the_model_that_speaks(root):
    store = TokenStore(root / "stores" / "tiny" / "knowledge-train-I" / "joint-vq12.5")
    told = store.manifest["provenance"]["interleaving"]
    assert told["speech_tokens"] == store.num_units > 0 and 0.1 < told["share"] < 0.5
    assert store.spec == stores("tiny")["knowledge-train-I/joint-vq12.5"]


def test_runs_see_what_they_are_named_for_and_are_asked_across_modalities(root):
    runs = {run.name: run for run in runs_of("interleaved", SCALES["tiny"])}
    seen = [name for name in runs if RunLog(root / "runs" / "tiny" / name).is_done]
    assert len(seen) == 6, seen
    for name in seen:
        log = RunLog(root / "runs" / "tiny" / name)
        sources = log.done["sources"]
        assert sum(source["tokens"] for source in sources) == log.spec.train.tokens
        if runs[name].family != "text-lm":
            asked = {row["eval"] for row in log.rows("scores")}
            assert {f"facts-{form}" for form in ("SS", "ST", "TS", "TT")} <= asked
            chances = [row["chance"] for row in log.rows("scores") if row["eval"].startswith("facts")]
            assert chances == pytest.approx([1 / 6] * len(chances))


def test_a_question_in_a_recording_is_answered_in_writing_and_in_sound(root, tmp_path):
    out = tmp_path / "answer.wav"
    asked = ("experiments", "chat", CHAT.name)
    done_once = run(root, *asked, "--text", "who works at the farm?", "--out", str(out))
    if done_once.returncode:  # so small a model may not get as far as speech, and then says so
        assert done_once.returncode == 2 and "no answer in speech" in done_once.stderr, done_once.stderr
    else:
        sound, rate = soundfile.read(out)
        assert rate == 16000 and len(sound) and np.isfinite(sound).all()
        assert "heard:" in done_once.stdout and "first sound after" in done_once.stdout
    missing = run(root, *asked, "--wav", str(tmp_path / "nothing.wav"))
    assert missing.returncode == 2 and "nothing.wav" in missing.stderr
    assert len(missing.stderr.strip().splitlines()) == 1
