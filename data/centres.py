"""The centres of a recipe of units: k-means or a tokenizer's codebook, published, or learnt once and kept.

In: a `UnitSpec`. Out: a file of centres that carries its encoder's fingerprint, below `encoders/`. Frames and log-mels
wait in shards on disk, so that memory is bounded; a kill costs at most the shards under way, or the updates of a
tokenizer since its last state.
"""

import fcntl
import io
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from data import documents as sources
from data.tts import Speech
from data.units import MOST_SKIPPED, digest, frames_of, speech_of
from data.utterance import Utterance
from data.workshop import Workshop
from slm.atomic import exclusive, read_json, read_jsonl, write_bytes, write_json, write_jsonl
from slm.machine import Machine
from slm.spec import CorpusSpec, EncoderSpec, UnitSpec, fingerprint, to_json
from slm.speech.centres import Centres, read_published, save_centres
from slm.speech.encoder import SAMPLE_RATE, encoder, published_centres_path
from slm.speech.kmeans import fit_centres

MOST_FRAME_BYTES = 2 << 30
"""Frames that k-means is learnt on, at most; of more speech a seeded sample is taken (a choice)."""
_SHARD_DOCUMENTS = 20
_LONGEST_SECONDS = 28.0  # of what a supervised tokenizer learns from at once: a word less than it reads (a choice)
_FRAMES = ".frames"


def centres_of(shop: Workshop, units: UnitSpec) -> Path | None:
    """The file of the centres, made if need be; None for units that come without frames.

    Jobs that want the same centres at the same time wait for the first.
    """
    if units.encoder.kind in ("given", "textless"):
        return None
    folder = centres_folder(shop.root, units)
    path = folder / "centres.safetensors"
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if not (folder / "recipe.json").exists():  # written last
            if units.encoder.supervised:
                _learn_tokenizer(shop, units.encoder)
            made = encoder(units.encoder, shop.machine).fingerprint
            is_codebook = units.encoder.kind == "whisper_vq"
            way = _codebook if is_codebook else _published if units.published else _learnt
            told = way(shop, units, path, made)
            write_json(folder / "recipe.json", to_json(units) | told)
            shutil.rmtree(folder / _FRAMES, ignore_errors=True)
    return path


def centres_folder(root: Path, units: UnitSpec) -> Path:
    """Where the centres of a recipe lie."""
    return root / "encoders" / f"{units.encoder.kind}-k{units.clusters}-{fingerprint(units)}"


def _published(shop: Workshop, units: UnitSpec, path: Path, made: str) -> dict:
    source = published_centres_path(units.encoder, units.published, shop.machine)
    array = read_published(source, units.published.sha256)
    if len(array) != units.clusters:
        raise ValueError(f"{source} holds {len(array)} centres, the recipe wants {units.clusters}")
    save_centres(path, Centres(array=array, encoder=made))
    return {"encoder_fingerprint": made}


def _codebook(shop: Workshop, units: UnitSpec, path: Path, made: str) -> dict:
    array = encoder(units.encoder, shop.machine).codebook
    if len(array) != units.clusters:
        raise ValueError(f"the codebook of {units.encoder.checkpoint} has {len(array)} codes, not {units.clusters}")
    save_centres(path, Centres(array=array, encoder=made))
    return {"encoder_fingerprint": made} | _reading(shop, units.encoder)


def _reading(shop: Workshop, spec: EncoderSpec) -> dict:
    """How well held-out speech is read through the quantiser, as a tokenizer that was learnt here tells it."""
    from slm.speech.whisper_vq import tokenizer_folder

    if not spec.supervised:
        return {}
    told = read_json(tokenizer_folder(spec, shop.machine) / "recipe.json")
    return {"reading": {name: value for name, value in told.items() if name.startswith("held_out_")}}


def _learn_tokenizer(shop: Workshop, spec: EncoderSpec) -> None:
    """The supervised tokenizer of a recipe, learnt if it is not there; jobs that want the same one wait."""
    from slm.speech.recogniser import mels_of
    from slm.speech.supervised import Heard, OnDisk, learn_tokenizer
    from slm.speech.whisper_vq import shape_of, tokenizer_folder

    folder = tokenizer_folder(spec, shop.machine)
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if (folder / "recipe.json").exists():  # written last
            return
        mels = mels_of(spec, shop.machine)
        shape_of(spec, mels)  # before anything is spoken
        task = shop.progress.add_task("speech tokenizer, updates", total=spec.supervised.updates)

        def watch(updates: int) -> None:
            shop.progress.update(task, completed=updates)

        with _log_mels(shop, spec.supervised.learnt_on, mels) as files:
            documents = []
            for file in files:
                rows = read_jsonl(file.with_suffix(".jsonl"))
                ends = np.cumsum([row["frames"] for row in rows]).tolist()
                for row, end in zip(rows, ends, strict=True):
                    log_mels = OnDisk(path=file, first=end - row["frames"], last=end)
                    documents.append(Heard(log_mels=log_mels, text=row["text"]))
            learn_tokenizer(folder, documents, spec, shop.machine, watch)
        shop.progress.remove_task(task)


@contextmanager
def _log_mels(shop: Workshop, corpus: CorpusSpec, mels: int) -> Iterator[list[Path]]:
    """Shards of log-mels and texts of a corpus; tokenizers that are learnt side by side share them, and the last one
    to end removes them."""
    folder = shop.root / "encoders" / f".log-mels-{mels}-{fingerprint(corpus)}"
    write, title = partial(_write_log_mels, mels), f"{corpus.name} {corpus.split}: speech to log-mels"
    lock = folder.with_name(f"{folder.name}.lock")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.used"), "w") as used:
        with exclusive(lock):
            files = _shards(shop, corpus, folder, write, title)
            fcntl.flock(used, fcntl.LOCK_SH)
        yield files
        with exclusive(lock), suppress(BlockingIOError):
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)


def _write_log_mels(mels: int, utterances: tuple[Utterance, ...], path: Path) -> list[str]:
    """Write a shard of log-mels (T, mels), as float16, and its texts; what is wrong with utterances that gave none."""
    from slm.speech.transcriber import plain_text
    from slm.speech.whisper_vq import own_log_mels

    found, rows, reasons = [np.zeros((0, mels), np.float16)], [], []
    for utterance in utterances:
        try:
            speech = speech_of(utterance)
        except ValueError as error:
            reasons.append(str(error))
            continue
        for waveform, text in _parts(speech, utterance.text or ""):
            log_mels = own_log_mels(waveform, mels)
            found.append(log_mels.astype(np.float16))
            rows.append({"id": utterance.id, "frames": len(log_mels), "text": plain_text(text)})
    write_jsonl(path.with_suffix(".jsonl"), rows)
    _write_array(path, np.concatenate(found))  # last: the shard is there
    return reasons


def _parts(speech: Speech, text: str) -> Iterator[tuple[np.ndarray, str]]:
    """Waveform and text of a document, of a long one in equal parts, each from a word on; where no word has a time,
    it stays whole."""
    count = math.ceil(speech.seconds / _LONGEST_SECONDS)
    targets = [number * speech.seconds / count for number in range(1, count)]
    starts = np.searchsorted([start for start, _, _ in speech.words], targets)
    firsts = [speech.words[i] for i in dict.fromkeys(starts.tolist()) if 0 < i < len(speech.words)]
    samples = [0, *(round(start * SAMPLE_RATE) for start, _, _ in firsts), len(speech.waveform)]
    letters = [0, *(letter for _, letter, _ in firsts), len(text)]
    for (first, last), (begin, end) in zip(pairwise(samples), pairwise(letters), strict=True):
        yield speech.waveform[first:last], text[begin:end]


def _learnt(shop: Workshop, units: UnitSpec, path: Path, made: str) -> dict:
    title = f"frames for {units.clusters} centres of {units.encoder.kind}"
    write = partial(_write_frames, units.encoder, shop.machine)
    files = _shards(shop, units.learnt_on, path.parent / _FRAMES, write, title)
    frames = sample(files, MOST_FRAME_BYTES, units.seed)
    task = shop.progress.add_task(f"k-means, {units.clusters} centres of {len(frames):,} frames", total=None)
    fit = fit_centres(frames, units.clusters, units.seed, shop.machine.device())
    shop.progress.update(task, total=1, completed=1)
    save_centres(path, Centres(array=fit.centres, encoder=made))
    found = {"frames": len(frames), "inertia": fit.inertia, "iterations": fit.iterations}
    return {"encoder_fingerprint": made} | found


def _shards(
    shop: Workshop,
    corpus: CorpusSpec,
    folder: Path,
    write: Callable[[tuple[Utterance, ...], Path], list[str]],
    title: str,
) -> list[Path]:
    """The shards of a corpus, in order, those that are missing written by worker processes."""
    utterances = list(sources.documents(corpus, shop.corpora))
    parts = [tuple(utterances[i : i + _SHARD_DOCUMENTS]) for i in range(0, len(utterances), _SHARD_DOCUMENTS)]
    files = [folder / f"{number:06d}-{digest(part, shop.corpora)}.npy" for number, part in enumerate(parts)]
    jobs = [job for job in zip(parts, files, strict=True) if not job[1].exists()]
    bad = [reason for reasons in shop.spread(write, jobs, len(jobs), title) for reason in reasons]
    if len(bad) > MOST_SKIPPED * len(utterances):
        shutil.rmtree(folder)  # so that a mended corpus is read anew
        raise ValueError(
            f"{len(bad)} of the {len(utterances)} documents of {corpus.name} that centres are learnt on are "
            f"unusable, the first because: {bad[0]}"
        )
    return files


def _write_frames(spec: EncoderSpec, machine: Machine, utterances: tuple[Utterance, ...], path: Path) -> list[str]:
    """Write a shard of frames; what is wrong with the utterances that gave none."""
    frames, reasons = frames_of(utterances, spec, machine)
    _write_array(path, frames)
    return reasons


def _write_array(path: Path, array: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_bytes(path, content.getvalue())


def sample(files: list[Path], most_bytes: int, seed: int) -> np.ndarray:
    """Frames of all files, (T, features) float32; where that is over `most_bytes` a seeded sample of them, in order."""
    shards = [shard for shard in (np.load(file, mmap_mode="r", allow_pickle=False) for file in files) if len(shard)]
    if not shards:
        return np.zeros((0, 1), np.float32)
    total, features = sum(map(len, shards)), shards[0].shape[1]
    most = most_bytes // (4 * features)
    if total <= most:
        return np.concatenate(shards)
    chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    ends = np.cumsum([len(shard) for shard in shards])
    split = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    starts = [0, *ends[:-1]]
    return np.concatenate([shard[rows - start] for shard, rows, start in zip(shards, split, starts, strict=True)])
