"""How neural encoders read sound of any length: windows on the frame grid, batches of them, and the joined frames.

In: waveforms, and two functions of a model: what is computed for one waveform alone, and what for a padded batch. Out:
frames that depend neither on batch mates nor on padding. Shared by the encoders, so that they cut alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from slm.speech.encoder import SAMPLE_RATE

WINDOW_SECONDS = 30.0  # of one pass (a choice: that of slm_scaling's chunks)
CONTEXT_SECONDS = 5.0  # on each side of a kept frame; the positional convolution sees 2.6 s at 25 Hz (a choice)


@dataclass(frozen=True, kw_only=True)
class FrameGrid:
    """Where the frames of a convolutional front end lie."""

    stride: int
    """Samples from frame to frame."""
    reach: int
    """Samples that one frame sees."""

    @staticmethod
    def of(kernels: list[int], strides: list[int]) -> "FrameGrid":
        """The grid of a stack of convolutions."""
        stride, reach = 1, 1
        for kernel, step in zip(kernels, strides, strict=True):
            reach += (kernel - 1) * stride
            stride *= step
        return FrameGrid(stride=stride, reach=reach)

    @property
    def rate_hz(self) -> float:
        return SAMPLE_RATE / self.stride

    def frames(self, samples: int) -> int:
        return max(0, (samples - self.reach) // self.stride + 1)


class _Pass(NamedTuple):
    """One window of a waveform, in frames: what is computed and which part of it is kept."""

    waveform: int
    first: int
    frames: int
    begin: int
    end: int


def encode_in_windows(
    waveforms: list[np.ndarray],
    grid: FrameGrid,
    width: int,
    batch_seconds: float,
    variance_floor: float | None,
    features: Callable[[np.ndarray], torch.Tensor],
    contextual: Callable[[list[torch.Tensor]], torch.Tensor],
) -> list[np.ndarray]:
    """Frames (T_i, width) float32 of each waveform.

    `features` maps samples to (T, D), `contextual` such rows to hidden states (B, T, D), each row valid up to its own
    length. Waveforms are brought to zero mean and unit variance, plus `variance_floor`, unless that is None.

    Up to 30 s are one pass. Longer sound is cut into windows of the frames of 30 s on the frame grid, the last one
    ending with the last frame; a frame is taken from the first window in which it has 5 s of context after it, so it
    has 5 s on both sides except at the ends of the sound. There are as many frames as in one pass. (slm_scaling joins
    independent 30 s chunks and drops a rest below 720 samples, textlesslib 100 s chunks: neither has context across
    its cuts.)
    """
    counts = [grid.frames(len(waveform)) for waveform in waveforms]
    levels = [_level(waveform, variance_floor) for waveform in waveforms]
    found = [np.empty((count, width), np.float32) for count in counts]
    longest, context = grid.frames(int(WINDOW_SECONDS * SAMPLE_RATE)), int(CONTEXT_SECONDS * grid.rate_hz)
    passes = [_Pass(i, *window) for i, count in enumerate(counts) for window in _windows(count, longest, context)]
    for batch in _batches(passes, int(batch_seconds * grid.rate_hz)):
        rows = []
        for i, first, frames, _, _ in batch:
            start = first * grid.stride
            stop = start + (frames - 1) * grid.stride + grid.reach
            # a single pass takes the samples after its last frame too: group norm averages over them
            samples = waveforms[i][start:stop] if frames < counts[i] else waveforms[i]
            rows.append(features((samples.astype(np.float32) - levels[i][0]) * levels[i][1]))
        states = contextual(rows).float().cpu().numpy()
        for row, (i, first, _, begin, end) in zip(states, batch, strict=True):
            found[i][begin:end] = row[begin - first : end - first]
    return found


def _windows(count: int, longest: int, context: int) -> list[tuple[int, int, int, int]]:
    """(first, frames, begin, end) of the windows of `count` frames; the parts [begin, end) join without gap."""
    if count <= longest:
        return [(0, count, 0, count)] if count else []
    firsts = [*range(0, count - longest, longest - 2 * context), count - longest]
    ends = [first + longest - context for first in firsts[:-1]] + [count]
    return [(first, longest, begin, end) for first, begin, end in zip(firsts, [0, *ends], ends, strict=False)]


def _batches(passes: list[_Pass], limit: int) -> list[list[_Pass]]:
    """Passes by length, in batches of at most `limit` padded frames, or of one pass."""
    batches: list[list[_Pass]] = []
    for item in sorted(passes, key=lambda item: item.frames):
        if batches and (len(batches[-1]) + 1) * item.frames <= limit:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


def _level(waveform: np.ndarray, variance_floor: float | None) -> tuple[np.float32, np.float32]:
    """Mean, and factor to unit variance."""
    if variance_floor is None or not len(waveform):
        return np.float32(0), np.float32(1)
    variance = waveform.var(dtype=np.float64) + variance_floor
    return np.float32(waveform.mean(dtype=np.float64)), np.float32(1 / np.sqrt(variance))
