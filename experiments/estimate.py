"""What a list of runs costs, before it costs anything.

In: runs, a scale, the folder of stores and finished runs. Out: an `Estimate` a run: FLOPs, epochs, memory, hours of a
device. Speeds are measured where runs of the size have finished, else stated, else guessed; each says which.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.stores import store_folder
from experiments.scales import Scale
from experiments.studies import training_stores
from slm.atomic import read_json
from slm.flops import flops_per_token
from slm.memory import step_bytes, windows_that_fit
from slm.runlog import RunLog
from slm.spec import RunSpec
from slm.store import TokenStore


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run costs on one device. `executed` leaves out what shorter runs of the same list and trunk did before."""

    run: RunSpec
    flops: float
    """6ND."""
    executed_flops: float
    corpus_tokens: int | None
    """One epoch: tokens of all training stores; None where they are neither prepared nor stated."""
    unique_tokens: int | None
    """U: the sum over training stores of what the run takes of each, or of all that it has."""
    unprepared: tuple[str, ...]
    """Training stores whose size is not read from their manifest."""
    windows: int
    """Of an update that go through the device at once: as many as fit."""
    step_bytes: float
    """Of its memory, at the peak of an update."""
    tokens_per_second: float
    basis: Literal["measured", "stated", "guessed"]
    """Where the speed is from: finished runs of the size, the scale's table, the scale's FLOP/s."""

    @property
    def epochs(self) -> float | None:
        return self.corpus_tokens and self.run.train.tokens / self.corpus_tokens

    @property
    def repeats(self) -> float | None:
        """R = D/U - 1 (Muennighoff et al. 2023)."""
        return self.unique_tokens and self.run.train.tokens / self.unique_tokens - 1

    @property
    def device_hours(self) -> float:
        return self.run.train.tokens / self.tokens_per_second / 3600

    @property
    def executed_device_hours(self) -> float:
        return self.device_hours * self.executed_flops / self.flops


def estimates(runs: list[RunSpec], scale: Scale, root: Path) -> list[Estimate]:
    """An estimate of each run, in their order; `ValueError` for a store or a run folder that cannot be read."""
    measured = measured_speeds(scale, root)
    prepared = prepared_tokens(sorted({name for run in runs for name in training_stores(run, scale)}), scale, root)
    shared = shared_steps(runs)
    found = []
    for run in runs:
        per_token = flops_per_token(run.model)["flops_6n"]
        names = training_stores(run, scale)
        windows, needed = _memory(run, scale)
        speed, basis = _speed(run, scale, measured)
        found.append(
            Estimate(
                run=run,
                flops=per_token * run.train.tokens,
                executed_flops=per_token * (run.train.tokens - shared[run.name] * run.train.batch_tokens),
                **_tokens(run, [prepared.get(name, scale.stated_tokens.get(name)) for name in names]),
                unprepared=tuple(name for name in names if name not in prepared),
                windows=windows,
                step_bytes=needed,
                tokens_per_second=speed,
                basis=basis,
            )
        )
    return found


def shared_steps(runs: list[RunSpec]) -> dict[str, int]:
    """Run -> its first updates that it need not do, because a shorter run of its trunk leaves a checkpoint there."""
    shared, reached = {}, {}
    for run in sorted(runs, key=lambda run: run.train.tokens):
        shared[run.name] = reached.get(run.trunk, 0)
        if run.train.schedule == "wsd":
            reached[run.trunk] = run.train.steps - run.train.decay_steps
    return shared


def measured_speeds(scale: Scale, root: Path) -> dict[str, float]:
    """Size -> tokens per second of one device: the median over finished runs of the median over their last rows."""
    speeds: dict[str, list[float]] = {}
    folder = root / "runs" / scale.name
    for path in sorted(folder.rglob("spec.json")) if folder.exists() else []:
        log = RunLog(path.parent)
        rows = log.tail("train") if log.is_done else []
        if rows:  # a released checkpoint that was taken as a run has none
            devices = read_json(log.folder / "env.json")["executions"][-1]["devices"]
            speed = statistics.median(row["tokens_per_second"] for row in rows) / devices
            speeds.setdefault(log.spec.size, []).append(speed)
    return {size: statistics.median(found) for size, found in speeds.items()}


def prepared_tokens(names: list[str], scale: Scale, root: Path) -> dict[str, int]:
    """Store -> tokens, of those stores that are prepared."""
    folders = {name: store_folder(root, scale.name, name) for name in names}
    return {name: TokenStore(path).num_tokens for name, path in folders.items() if (path / "manifest.json").exists()}


def _tokens(run: RunSpec, sizes: list[int | None]) -> dict[str, int | None]:
    if None in sizes:
        return {"corpus_tokens": None, "unique_tokens": None}
    weights = [source.weight for source in run.mix]
    taken = [run.train.tokens * weight / sum(weights) for weight in weights]
    unique = sum(min(size, share) for size, share in zip(sizes, taken, strict=True))
    return {"corpus_tokens": sum(sizes), "unique_tokens": round(unique)}


def _memory(run: RunSpec, scale: Scale) -> tuple[int, float]:
    """Windows at once, and their bytes; one window where even that is too much for the scale's device."""
    model, precision = run.model, run.train.precision
    windows = run.train.batch_tokens // model.context
    if scale.device_bytes and step_bytes(model, 1, precision)["total"] <= scale.device_bytes:
        windows = windows_that_fit(model, windows, precision, scale.device_bytes)
    elif scale.device_bytes:
        windows = 1
    return windows, step_bytes(model, windows, precision)["total"]


def _speed(run: RunSpec, scale: Scale, measured: dict[str, float]) -> tuple[float, str]:
    if run.size in measured:
        return measured[run.size], "measured"
    if run.size in scale.tokens_per_second:
        return scale.tokens_per_second[run.size], "stated"
    return scale.flops_per_second / flops_per_token(run.model)["flops_6n"], "guessed"
