"""Any units to sound: a small convolutional network from units and their durations to log-mel frames, then a waveform.

In: speech whose units and durations are known. Out: 16 kHz sound, by Griffin & Lim's algorithm or by a HiFi-GAN of
transformers (Kong et al. 2020). Units tell no speaker, so the frames are those of the mean of the speakers.
T frames of 10 ms, D width, M mels.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch.nn import functional

from slm.atomic import read_json, write_bytes, write_json
from slm.machine import Machine
from slm.spec import CorpusSpec, Recipe, UnitSpec, differences, fingerprint, from_json, to_json
from slm.speech import transcriber
from slm.speech.encoder import SAMPLE_RATE
from slm.speech.logmel import LogMel
from slm.speech.vocoder import carried, check_units, log_mel_spectra, sound
from slm.store import checksum

FRAME_HZ, MELS = 100, 80
"""Of the frames that are made: those of `slm.speech.logmel`, as it scales them."""
DECIBELS = 40.0
"""Of a difference of 1 in those frames: (log10 energy + 4) / 4."""
_KERNEL, _DILATIONS = 3, (1, 2, 4, 8, 16, 32)  # of the convolutions, in turn: a frame sees 0.6 s either side
_WARM_UP = 0.1  # of the updates; then the rate falls as a cosine
_CLIP = 1.0  # largest norm of the gradient

Spoken = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(units (U,), frames of each (U,), their float32 waveform at 16 kHz)."""


@dataclass(frozen=True, kw_only=True)
class UnitVocoderSpec(Recipe):
    """Recipe of a `UnitVocoder`."""

    units: UnitSpec
    learnt_on: CorpusSpec
    documents: int = 100
    """The first so many are learnt from (a choice: half an hour of our stories)."""
    held_out: int = 20
    """Those after them, which the error is of."""
    width: int = 96
    layers: int = 6
    updates: int = 500
    crops: int = 8
    """Of an update."""
    crop_frames: int = 200
    learning_rate: float = 3e-3
    """Peak."""
    seed: int = 0


class UnitVocoder:
    """A vocoder of one recipe of units; see `learn_unit_vocoder` and `read_unit_vocoder`."""

    def __init__(
        self, recipe: UnitVocoderSpec, durations: np.ndarray, machine: Machine, hifi_gan: Path | None = None
    ) -> None:
        """`durations`: mean frames of each unit (K,). `hifi_gan`: a folder for `HifiGan`; None: Griffin & Lim."""
        self.recipe, self.durations = recipe, durations
        self.name = f"vocoder@{fingerprint(recipe)}"
        self._hifi_gan = HifiGan(hifi_gan, machine) if hifi_gan else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = _Model(recipe)
        self.model.to(machine.place()).eval()

    def __call__(self, units: np.ndarray, frames: np.ndarray | None = None) -> np.ndarray:
        """See `slm.speech.vocoder.Vocoder`."""
        check_units(units, self.recipe.units.clusters)
        mels = self.mels(units, carried(self.durations[units]) if frames is None else frames)
        if self._hifi_gan is not None:
            return self._hifi_gan(mels)
        return sound(*_stepped(mels))

    @torch.inference_mode()
    def mels(self, units: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Log-mel frames (T, 80) at 100 Hz of units (U,) that last so many of their own frames (U,)."""
        ids, places = _spread(units, frames, self.recipe.units.encoder.rate_hz)
        if not len(ids):
            return np.zeros((0, MELS), np.float32)
        device = self.model.embedding.weight.device
        given = (torch.from_numpy(array)[None].to(device) for array in (ids, places))
        return self.model(*given)[0].cpu().numpy()


class HifiGan:
    """The class SpeechT5HifiGan of transformers as it turns our log-mel frames into sound.

    Its checkpoint must have been learnt on the frames of `slm.speech.logmel` at 100 Hz: 80 mels of 16 kHz sound,
    160 samples each, scaled as there but for what its own `mean` and `scale` undo. SpeechT5's own has 256 samples a
    frame and other filters, and is refused.
    """

    def __init__(self, folder: Path, machine: Machine) -> None:
        """`ValueError` for a folder that is not whole, and for frames of another kind as far as its config tells."""
        from transformers import SpeechT5HifiGan

        try:
            self._model, found = SpeechT5HifiGan.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, local_files_only=True, use_safetensors=True
            )
        except Exception as error:  # each version of transformers has its own for files that are torn or missing
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise ValueError(f"{folder}: no HiFi-GAN that transformers can load ({reason}); fetch it again") from None
        config = self._model.config
        told = (config.model_in_dim, config.sampling_rate, int(np.prod(config.upsample_rates)))
        if told != (MELS, SAMPLE_RATE, SAMPLE_RATE // FRAME_HZ):
            raise ValueError(
                f"{folder} makes sound of {told[0]} mels at {told[1]} Hz, {told[2]} samples a frame; it must be {MELS} "
                f"at {SAMPLE_RATE} Hz, {SAMPLE_RATE // FRAME_HZ} samples: take one that was learnt on frames of slm"
            )
        if found["missing_keys"]:
            missing = found["missing_keys"]
            raise ValueError(f"{folder}: {len(missing)} weights are missing, such as {min(missing)}; fetch it again")
        self._model.to(machine.place()).eval()

    @torch.inference_mode()
    def __call__(self, mels: np.ndarray) -> np.ndarray:
        """The waveform of log-mel frames (T, 80): 160 samples a frame."""
        if not len(mels):
            return np.zeros(0, np.float32)
        return self._model(torch.from_numpy(mels).to(self._model.device)).cpu().numpy()


def learn_unit_vocoder(
    folder: Path,
    spoken: Iterable[Spoken],
    recipe: UnitVocoderSpec,
    machine: Machine,
    report: Callable[[int, float], None] = lambda updates, loss: None,
) -> UnitVocoder:
    """Learn a vocoder and write it into `folder`; `recipe.json` is written last and tells the held-out errors.

    They are the roots of mean squares over frames and mels, in decibels: of the network, and of the mean frame of each
    unit, which is the best that can be said without neighbours. On a CPU the same speech and recipe give the same
    weights: one thread is used. `report` is told the number of updates made and the last one's loss. `ValueError` for
    too few documents, units outside the recipe's, and sound shorter than its units.
    """
    some = islice(spoken, recipe.documents + recipe.held_out)
    found = [_checked(number, each, recipe) for number, each in enumerate(some)]
    if len(found) <= recipe.held_out or not recipe.held_out:
        raise ValueError(f"{len(found)} documents of speech, {recipe.held_out} held out: hold out some and leave some")
    learnt, held_out = found[: -recipe.held_out], found[-recipe.held_out :]
    with transcriber.one_thread():
        made = UnitVocoder(recipe, _mean_durations(learnt, recipe.units.clusters), machine)
        stream = _stream(learnt, recipe)
        means = _mean_mels(*stream[::2], recipe.units.clusters)
        made.model.means.weight.data.copy_(means)
        _learn(made.model, stream, recipe, report)
        told = {"learnt_documents": len(learnt)} | _errors(made, means.numpy(), held_out)
    weights = {name: weight.cpu() for name, weight in made.model.state_dict().items()}
    write_bytes(folder / "model.safetensors", save(weights | {"durations": torch.from_numpy(made.durations)}))
    sha256 = checksum(folder / "model.safetensors")
    write_json(folder / "recipe.json", {"recipe": to_json(recipe), "sha256": sha256} | told)
    return made


def unit_vocoder_folder(root: Path, recipe: UnitVocoderSpec) -> Path:
    """Where the vocoder of a recipe lies below the folder of everything that the suite writes."""
    return root / "encoders" / f"vocoder-{fingerprint(recipe)}"


def read_unit_vocoder(folder: Path, units: UnitSpec, machine: Machine, hifi_gan: Path | None = None) -> UnitVocoder:
    """The vocoder in a folder; `ValueError` if none is there, it is torn, or it speaks other units than `units`."""
    if not (folder / "recipe.json").exists():
        raise ValueError(f"no vocoder in {folder}: learn one from speech and its units")
    try:
        told = read_json(folder / "recipe.json")
        recipe = from_json(UnitVocoderSpec, told["recipe"])
        if checksum(folder / "model.safetensors") != told["sha256"]:
            raise ValueError("the weights differ from their checksum")
        weights = load_file(folder / "model.safetensors")
        found = UnitVocoder(recipe, weights.pop("durations").numpy(), machine)
        found.model.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{folder}: no readable vocoder ({reason}); delete the folder and learn it anew") from None
    if recipe.units != units:
        lines = "; ".join(differences(to_json(recipe.units), to_json(units)))
        raise ValueError(f"{folder} speaks other units ({lines}): learn a vocoder of these")
    found._hifi_gan = HifiGan(hifi_gan, machine) if hifi_gan else None
    return found


class _Model(torch.nn.Module):
    """Units of frames, and where in its unit each frame is, to log-mel frames."""

    def __init__(self, recipe: UnitVocoderSpec) -> None:
        super().__init__()
        width = recipe.width
        self.embedding = torch.nn.Embedding(recipe.units.clusters, width)
        self.place = torch.nn.Linear(2, width)
        dilations = [_DILATIONS[layer % len(_DILATIONS)] for layer in range(recipe.layers)]
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in dilations)
        self.around = torch.nn.ModuleList(
            torch.nn.Conv1d(width, width, _KERNEL, dilation=dilation, padding=_KERNEL // 2 * dilation)
            for dilation in dilations
        )
        self.head = torch.nn.Linear(width, MELS)
        torch.nn.init.zeros_(self.head.weight)  # so that learning starts from the mean frames
        torch.nn.init.zeros_(self.head.bias)
        self.means = torch.nn.Embedding(recipe.units.clusters, MELS)

    def forward(self, ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Frames (B, T, M) of units (B, T) and places (B, T, 2)."""
        hidden = self.embedding(ids) + self.place(places)  # (B, T, D)
        for norm, around in zip(self.norms, self.around, strict=True):
            hidden = hidden + functional.relu(around(norm(hidden).transpose(1, 2))).transpose(1, 2)  # (B, T, D)
        return self.means(ids) + self.head(hidden)


def _spread(units: np.ndarray, frames: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each frame of 10 ms its unit (T,) and the logarithms of its places from the unit's start and end (T, 2)."""
    ends = np.round(np.cumsum(frames) * (FRAME_HZ / rate_hz)).astype(np.int64)
    counts = np.diff(ends, prepend=0)
    first, last = np.repeat(ends - counts, counts), np.repeat(ends, counts)
    now = np.arange(int(ends[-1]) if len(ends) else 0)
    places = np.log(np.stack([now - first + 1, last - now], axis=1))
    return np.repeat(units.astype(np.int64), counts), places.astype(np.float32)


def _stepped(mels: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """What `sound` makes a waveform of."""
    spectra, window = log_mel_spectra(mels, LogMel(FRAME_HZ))
    return spectra, 1.0, window


@dataclass(frozen=True, kw_only=True)
class _Document:
    units: np.ndarray
    frames: np.ndarray
    mels: np.ndarray
    """As long as its units, so far as there is sound: (T, 80)."""


def _checked(number: int, spoken: Spoken, recipe: UnitVocoderSpec) -> _Document:
    units, frames, waveform = spoken
    check_units(units, recipe.units.clusters)
    (mels,) = LogMel(FRAME_HZ).encode([waveform])
    wanted = len(_spread(units, frames, recipe.units.encoder.rate_hz)[0])
    if not 0 < wanted <= len(mels) + 1:  # whose last frame may be cut
        raise ValueError(
            f"document {number}: {wanted / FRAME_HZ:g} s of units, {len(waveform) / SAMPLE_RATE:g} s of sound: they do "
            f"not belong together"
        )
    return _Document(units=units, frames=frames, mels=mels[:wanted])


def _mean_durations(documents: list[_Document], clusters: int) -> np.ndarray:
    """Mean frames of each unit (K,), 1 of those that never occur."""
    units, frames = (np.concatenate([getattr(d, name) for d in documents]) for name in ("units", "frames"))
    totals, counts = np.bincount(units, frames, clusters), np.bincount(units, minlength=clusters)
    return np.where(counts, totals / np.maximum(counts, 1), 1.0)


def _stream(documents: list[_Document], recipe: UnitVocoderSpec) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Units, places and frames of documents one behind the other: (T,), (T, 2), (T, M)."""
    rows = [(*_spread(d.units, d.frames, recipe.units.encoder.rate_hz), d.mels) for d in documents]
    cut = [[array[: len(row[2])] for array in row] for row in rows]
    return tuple(torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*cut, strict=True))


def _learn(model: _Model, stream: tuple, recipe: UnitVocoderSpec, report: Callable[[int, float], None]) -> None:
    ids, places, mels = stream
    model.train()
    device, random = model.embedding.weight.device, np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.updates + 1, pct_start=_WARM_UP, cycle_momentum=False
    )
    length = min(recipe.crop_frames, len(ids))
    for update in range(1, recipe.updates + 1):
        starts = random.integers(0, len(ids) - length + 1, recipe.crops)
        rows = torch.from_numpy(starts[:, None] + np.arange(length))  # (B, T)
        made = model(ids[rows].to(device), places[rows].to(device))  # (B, T, M)
        loss = functional.mse_loss(made, mels[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        schedule.step()
        report(update, float(loss.detach()))
    model.eval()


def _mean_mels(ids: torch.Tensor, mels: torch.Tensor, clusters: int) -> torch.Tensor:
    """Mean frame of each unit (K, M), of those that never occur the mean of all."""
    counts = torch.bincount(ids, minlength=clusters)[:, None]
    sums = torch.zeros(clusters, MELS).index_add_(0, ids, mels)
    return torch.where(counts > 0, sums / counts.clamp(min=1), mels.mean(dim=0))


def _errors(made: UnitVocoder, means: np.ndarray, held_out: list[_Document]) -> dict:
    """Of documents that were not learnt from, in decibels: of the network, and of the mean frames."""
    squares, rate_hz = np.zeros(2), made.recipe.units.encoder.rate_hz
    for document in held_out:
        count = len(document.mels)
        ids, _ = _spread(document.units, document.frames, rate_hz)
        for row, said in enumerate((made.mels(document.units, document.frames), means[ids])):
            squares[row] += np.square(said[:count] - document.mels).mean(axis=1).sum()
    frames = sum(len(document.mels) for document in held_out)
    errors = (DECIBELS * np.sqrt(squares / frames)).tolist()
    return {"held_out_frames": frames, "held_out_error_db": errors[0], "held_out_unit_mean_error_db": errors[1]}
