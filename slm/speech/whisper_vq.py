"""Supervised speech tokens: a Whisper encoder with pooling and vector quantisation in its middle.

In: 16 kHz waveforms, a folder that `slm.speech.supervised` wrote or one that GLM-4-Voice's authors released. Out: the
states before the quantiser, whose nearest row of the codebook is the token, whole or block by block.
B sounds, M mels, T frames at 50 Hz, P pooled frames, N live ones, D width, V codes.
"""

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from slm.atomic import read_json
from slm.machine import Machine, slm_root
from slm.spec import EncoderSpec, fingerprint
from slm.speech.encoder import SAMPLE_RATE
from slm.speech.hubert import check_revision, checkpoint_folder
from slm.speech.kmeans import nearest
from slm.store import checksum

FRAME_HZ, FRAME_SAMPLES = 50, 320  # of the convolutions' output (Radford et al. 2022, section 2.2)
RATES = (50.0, 25.0, 12.5, 6.25)  # of tokens
_HOP, _WINDOW = 160, 400  # samples: 10 ms, 25 ms (same)
_REACH = _WINDOW // 2 - _HOP  # samples that a log-mel frame sees behind its hop
_TAPER = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)  # periodic
_FLOOR = 1e-10  # where Whisper clamps the energies
_POSITIONS = 1500  # at most, in own models: Whisper's 30 s
_SOUNDS = 8  # of up to 30 s that a GPU reads at once (a choice; not measured); a CPU reads one
_VERSION = 1  # of this file: part of the fingerprint


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a tokenizer's encoder."""

    mels: int
    width: int
    heads: int
    hidden: int
    layers: int
    quantised_after: int
    pooling: int
    codes: int
    block: int
    """Frames at 50 Hz whose attention sees all of its block; a multiple of `pooling`."""
    positions: int
    """Frames at 50 Hz that are read at once; longer sound is cut there, and nothing is seen across the cut."""
    activation: str = "gelu"


class VqEncoder(nn.Module):
    """Whisper's encoder up to the quantiser, and, where there are more layers, from the quantiser on.

    Convolutions pad on the left alone. Names of weights are those of the released tokenizer.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer

        self.shape, config = shape, whisper_config(shape)
        self.conv1 = nn.Conv1d(shape.mels, shape.width, kernel_size=3)
        self.conv2 = nn.Conv1d(shape.width, shape.width, kernel_size=3, stride=2)
        self.embed_positions = nn.Embedding.from_pretrained(sinusoids(shape.positions, shape.width))  # (T, D), frozen
        self.layers = nn.ModuleList(WhisperEncoderLayer(config) for _ in range(shape.layers))
        self.codebook = nn.Embedding.from_pretrained(torch.zeros(shape.codes, shape.width))  # (V, D), learnt by means
        first = self.embed_positions.weight[: -(-shape.positions // shape.pooling)]
        self.embed_positions2 = nn.Embedding.from_pretrained(first.clone(), freeze=False)  # (P, D)
        self.layer_norm = nn.LayerNorm(shape.width)

    def before(self, mels: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States before the quantiser (B, P, D), and which of them are live, (B, P) bool.

        mels is (B, M, 2 T), of which twice `counts` (B,) frames are live; T is at most `Shape.positions`.
        """
        shape = self.shape
        hidden = functional.gelu(self.conv1(functional.pad(mels, (2, 0))))
        hidden = functional.gelu(self.conv2(functional.pad(hidden, (2, 0)))).transpose(1, 2)  # (B, T, D)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        inside = torch.arange(hidden.shape[1], device=mels.device) < counts[:, None]  # (B, T)
        hidden = _through(self.layers[: shape.quantised_after], hidden, inside, shape.block)
        hidden = functional.pad((hidden * inside[..., None]).transpose(1, 2), (0, -hidden.shape[1] % shape.pooling))
        return functional.avg_pool1d(hidden, shape.pooling).transpose(1, 2), inside[:, :: shape.pooling]

    def after(self, quantised: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """Output (B, P, D) of the layers above, of quantised states (B, P, D), those `inside` (B, P) being live."""
        hidden = quantised + self.embed_positions2.weight[: quantised.shape[1]]
        block = self.shape.block // self.shape.pooling
        return self.layer_norm(_through(self.layers[self.shape.quantised_after :], hidden, inside, block))


def _through(layers: nn.ModuleList, hidden: torch.Tensor, inside: torch.Tensor, block: int) -> torch.Tensor:
    """Through layers of transformers: those of 4.57 want a mask of heads and give a tuple, those of 5 neither."""
    mask = block_causal(inside, block)
    takes_heads = "layer_head_mask" in inspect.signature(layers[0].forward).parameters if len(layers) else False
    for layer in layers:
        found = layer(hidden, mask, **({"layer_head_mask": None} if takes_heads else {}))
        hidden = found[0] if isinstance(found, tuple) else found
    return hidden


def block_causal(inside: torch.Tensor, block: int) -> torch.Tensor:
    """What attention adds to scores (B, 1, T, T): 0 for the keys `inside` (B, T) that are in a query's block or before
    it (the lower triangle and the blocks on the diagonal), minus infinity for others."""
    blocks = torch.arange(inside.shape[1], device=inside.device) // block
    seen = (blocks[None, :] <= blocks[:, None]) & inside[:, None, None, :]
    return torch.zeros(seen.shape, device=inside.device).masked_fill_(~seen, -math.inf)


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Whisper's positions of its encoder (length, width): sines, then cosines, of periods 2 pi to 20,000 pi."""
    rates = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def whisper_config(shape: Shape):
    """The shape as transformers' layers are told it."""
    from transformers import WhisperConfig

    config = WhisperConfig(
        d_model=shape.width,
        num_mel_bins=shape.mels,
        encoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.hidden,
        decoder_attention_heads=shape.heads,
        decoder_ffn_dim=shape.hidden,
        activation_function=shape.activation,
        max_source_positions=shape.positions,
    )
    config._attn_implementation = "sdpa"
    return config


def log_mels(samples: np.ndarray, mels: int) -> np.ndarray:
    """Whisper's log-mels at 100 Hz, without its normalisation: (log10 energy + 4) / 4, (T, mels) float32.

    Frame t is of the samples [160 t, 160 t + 400): give 200 before the place of the first frame.
    """
    from scipy.fft import rfft

    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP] * _TAPER  # (T, window)
    spectrum = rfft(windows, axis=1)
    energies = (spectrum.real**2 + spectrum.imag**2) @ _filters(mels)  # (T, M)
    return ((np.log10(np.maximum(energies, _FLOOR)) + 4) / 4).astype(np.float32)


@lru_cache
def _filters(mels: int) -> np.ndarray:
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(_WINDOW // 2 + 1, mels, 0.0, 8000.0, SAMPLE_RATE, "slaney", "slaney").astype(np.float32)


def own_log_mels(waveform: np.ndarray, mels: int, first: int = 0, last: int | None = None) -> np.ndarray:
    """Log-mels (T, M) of the frames [first, last) at 100 Hz; before and behind the waveform is silence.

    Nothing is normalised over the sound, as Whisper does: its end would change the tokens of its beginning.
    """
    last = len(waveform) // _HOP if last is None else last
    if first >= last:
        return np.zeros((0, mels), np.float32)
    start, stop = first * _HOP - _WINDOW // 2, last * _HOP + _REACH
    there = waveform[max(0, start) : stop].astype(np.float32, copy=False)
    return log_mels(np.pad(there, (max(0, -start), max(0, stop - len(waveform)))), mels)


def whisper_log_mels(waveform: np.ndarray, mels: int) -> np.ndarray:
    """Log-mels as Whisper's feature extractor makes them: ends mirrored, cut at 8 decades below the loudest frame."""
    frames = -(-len(waveform) // _HOP)
    padded = np.pad(waveform.astype(np.float32, copy=False), (0, frames * _HOP - len(waveform)))
    found = log_mels(np.pad(padded, _WINDOW // 2, mode="reflect"), mels)[:frames]
    return np.maximum(found, found.max() - 2)  # 8 decades / 4


class WhisperVq:
    """An encoder of `slm.speech.encoder` whose frames are the states before the quantiser, at the rate of the tokens.

    Sound is cut after every `Shape.positions` frames, and the parts are read apart: positions begin anew, and nothing
    is seen across the cut. A rest that is shorter than a token gives none (the released code makes a token of it).
    """

    def __init__(self, spec: EncoderSpec, machine: Machine) -> None:
        """`ValueError` when the tokenizer is not there, is not the recipe's, or is not whole."""
        self._device = torch.device(machine.place())
        self.is_own = spec.supervised is not None
        read = _own if self.is_own else _released
        self.model, digest = read(spec, machine)
        self.model.to(self._device).eval().requires_grad_(False)
        self.shape = self.model.shape
        self.rate_hz = FRAME_HZ / self.shape.pooling
        self.fingerprint = f"whisper_vq-{digest}-v{_VERSION}"

    @property
    def codebook(self) -> np.ndarray:
        """(V, D) float32: the nearest row of a state is its token."""
        return self.model.codebook.weight.float().cpu().numpy()

    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """See `slm.speech.encoder.Encoder`."""
        parts = [(number, part) for number, waveform in enumerate(waveforms) for part in self._parts(waveform)]
        order = sorted(range(len(parts)), key=lambda place: len(parts[place][1]))
        states = [np.zeros((0, self.shape.width), np.float32)] * len(parts)
        size = 1 if self._device.type == "cpu" else _SOUNDS
        for places in (order[i : i + size] for i in range(0, len(order), size)):
            for place, state in zip(places, self.states([parts[place][1] for place in places]), strict=True):
                states[place] = state
        found = [[np.zeros((0, self.shape.width), np.float32)] for _ in waveforms]
        for (number, _), state in zip(parts, states, strict=True):
            found[number].append(state)
        counts = [len(waveform) // (self.shape.pooling * FRAME_SAMPLES) for waveform in waveforms]
        return [np.concatenate(some)[:count] for some, count in zip(found, counts, strict=True)]

    @torch.inference_mode()
    def states(self, log_mels: list[np.ndarray]) -> list[np.ndarray]:
        """States (P_i, D) before the quantiser of log-mels (2 T_i, M), each of at most `Shape.positions` frames."""
        padded, counts = padded_log_mels(log_mels)
        states, inside = self.model.before(padded.to(self._device), counts.to(self._device))
        return [row[live].float().cpu().numpy() for row, live in zip(states, inside, strict=True)]

    def _parts(self, waveform: np.ndarray) -> Iterator[np.ndarray]:
        """Log-mels of the parts of a waveform that are read apart."""
        shape, length = self.shape, self.shape.positions * FRAME_SAMPLES
        whole = len(waveform) // (shape.pooling * FRAME_SAMPLES) * shape.pooling * FRAME_SAMPLES
        for start in range(0, whole, length):
            if self.is_own:
                yield own_log_mels(waveform, shape.mels, start // _HOP, min(start + length, whole) // _HOP)
            else:
                yield whisper_log_mels(waveform[start : start + length], shape.mels)


def padded_log_mels(rows: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mels (2 T_i, M) as (B, M, 2 T) float32, and the frames at 50 Hz of each (B,), rounded up."""
    tensors = [torch.from_numpy(np.array(row, np.float32)) for row in rows]
    padded = pad_sequence(tensors, batch_first=True)
    counts = torch.tensor([(len(row) + 1) // 2 for row in rows])
    return functional.pad(padded, (0, 0, 0, padded.shape[1] % 2)).transpose(1, 2), counts


class TokenStream:
    """Sound piece by piece to tokens block by block, equal to those of the whole sound.

    The tokens of a block come once its sound is there and 40 samples more, the reach of its last log-mel frame; the
    convolutions look back only. Each block is computed anew with those before it since the last cut (30 s at most).
    Tokenizers as they were released normalise over the sound: `ValueError`.
    """

    def __init__(self, encoder: WhisperVq) -> None:
        if not encoder.is_own:
            raise ValueError(
                "log-mels of a released tokenizer are normalised over the whole sound: stream with one learnt here"
            )
        self._encoder, self._shape = encoder, encoder.shape
        self._held, self._before = np.zeros(0, np.float32), 0  # sound since the last cut, and hops of it before the cut
        self._done = 0  # frames since the cut whose tokens are out

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The tokens that the next samples (of 16 kHz float32) complete: (P,) int64, often none."""
        self._held = np.concatenate([self._held, samples.astype(np.float32, copy=False)])
        found = []
        while self._samples() >= self._end() * FRAME_SAMPLES + _REACH:
            found.append(self._tokens(self._end()))
        return np.concatenate([*found, np.zeros(0, np.int64)])

    def finish(self) -> np.ndarray:
        """The tokens of the rest, when the sound has ended; the stream is used up."""
        found, pooling = [np.zeros(0, np.int64)], self._shape.pooling
        while (frames := self._samples() // (FRAME_SAMPLES * pooling) * pooling) > self._done:
            found.append(self._tokens(min(frames, self._end())))
        return np.concatenate(found)

    def _samples(self) -> int:
        """Since the cut."""
        return len(self._held) - self._before * _HOP

    def _end(self) -> int:
        """Frame since the cut with which the block under way ends."""
        return min(self._done + self._shape.block, self._shape.positions)

    def _tokens(self, end: int) -> np.ndarray:
        """The tokens of the frames up to `end` that are not out yet."""
        shape, first = self._shape, self._before
        (states,) = self._encoder.states([own_log_mels(self._held, shape.mels, first, first + 2 * end)])
        fresh = nearest(states[self._done // shape.pooling :], self._encoder.codebook)
        self._done = end
        if end == shape.positions:  # two hops before the cut are more than a log-mel frame sees
            self._held = self._held[(first + 2 * end - 2) * _HOP :]
            self._before, self._done = 2, 0
        return fresh


def shape_of(spec: EncoderSpec, mels: int) -> Shape:
    """The shape of a tokenizer of our own; `ValueError` for a rate or sizes that do not go together."""
    told = spec.supervised
    if spec.rate_hz not in RATES:
        raise ValueError(f"tokens at {spec.rate_hz:g} Hz: choose {', '.join(f'{rate:g}' for rate in RATES)}")
    pooling, block = round(FRAME_HZ / spec.rate_hz), round(told.block_seconds * FRAME_HZ)
    if not pooling <= block <= _POSITIONS or block % pooling or block != told.block_seconds * FRAME_HZ:
        raise ValueError(f"blocks of {told.block_seconds:g} s: choose whole {1 / spec.rate_hz:g} s tokens, up to 30 s")
    if not 1 <= told.quantised_after <= told.layers or told.width % (2 * told.heads):
        raise ValueError(
            f"quantised after layer {told.quantised_after} of {told.layers}, {told.heads} heads in width {told.width}: "
            f"quantise behind one of the layers, and let twice the heads divide the width"
        )
    return Shape(
        mels=mels,
        width=told.width,
        heads=told.heads,
        hidden=told.hidden,
        layers=told.layers,
        quantised_after=told.quantised_after,
        pooling=pooling,
        codes=told.codes,
        block=block,
        positions=_POSITIONS // block * block,
    )


def tokenizer_folder(spec: EncoderSpec, machine: Machine) -> Path:
    """Where a tokenizer of our own lies."""
    return (machine.encoders or slm_root() / "encoders") / f"{spec.kind}-{fingerprint(spec)}"


def _own(spec: EncoderSpec, machine: Machine) -> tuple[VqEncoder, str]:
    """The encoder up to the quantiser of a tokenizer that was learnt here, and the checksum of its weights."""
    folder = tokenizer_folder(spec, machine)
    if not (folder / "recipe.json").exists():  # written last
        raise ValueError(f"no tokenizer in {folder}: `python -m data prepare` a store of its units, which learns it")
    try:
        weights, digest = load_file(folder / "model.safetensors"), checksum(folder / "model.safetensors")
        if digest != read_json(folder / "recipe.json")["sha256"]:
            raise ValueError("the weights differ from their checksum")
        shape = shape_of(spec, weights["encoder.conv1.weight"].shape[1])
        own = {name: weight for name, weight in weights.items() if name.startswith("encoder.")}
        return _loaded(shape, own), digest[:16]
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: no readable tokenizer ({_reason(error)}); delete it and prepare again") from None


def _released(spec: EncoderSpec, machine: Machine) -> tuple[VqEncoder, str]:
    """The encoder up to the quantiser of a folder as GLM-4-Voice's authors release it, and checksums."""
    folder = checkpoint_folder(spec, machine)
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{folder}: no model.safetensors, and no other file of weights is read")
    digest = checksum(path)
    check_revision(spec, folder, path, digest)
    try:
        model = _loaded(_released_shape(read_json(folder / "config.json")), load_file(path))
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: not a tokenizer as GLM-4-Voice's ({_reason(error)})") from None
    return model, f"{digest[:16]}-{checksum(folder / 'config.json')[:8]}"


def _released_shape(told: dict) -> Shape:
    """The shape in a released `config.json`; `ValueError` for a variant that these classes do not compute."""
    wanted = {"pooling_type": "avg", "encoder_causal_convolution": True, "quantize_position": told["pooling_position"]}
    wanted |= {"encoder_causal_attention": False, "scale_embedding": False}
    bad = [f"{name} = {told.get(name)!r}" for name, value in wanted.items() if told.get(name, False) != value]
    if bad:
        raise ValueError(
            f"{', '.join(bad)}: only averages under causal convolutions and block-causal attention are read"
        )
    return Shape(
        mels=told["num_mel_bins"],
        width=told["d_model"],
        heads=told["encoder_attention_heads"],
        hidden=told["encoder_ffn_dim"],
        layers=told["quantize_position"],
        quantised_after=told["quantize_position"],
        pooling=told["pooling_kernel_size"],
        codes=told["quantize_vocab_size"],
        block=told["quantize_causal_block_size"],
        positions=told["max_source_positions"],
        activation=told["activation_function"],
    )


def _loaded(shape: Shape, weights: dict[str, torch.Tensor]) -> VqEncoder:
    """An encoder without the layers above the quantiser; weights of theirs, of heads and of its training are left."""
    model = VqEncoder(replace(shape, layers=shape.quantised_after))
    named = {name.removeprefix("model.").removeprefix("encoder."): weight.float() for name, weight in weights.items()}
    missing = set(model.state_dict()) - set(named) - {"layer_norm.weight", "layer_norm.bias", "embed_positions2.weight"}
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {min(missing)}")
    told = {name: named[name] for name in model.state_dict() if name in named}
    model.load_state_dict(told, strict=False)
    return model


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
