"""Fit: a law with its numbers, intervals and flags, and the conventions and runs that they rest on.

In: what a law's `fit` found. Out: a frozen value and its JSON below `results/SCALE/fits`. A law that cannot be
fitted is a `Fit` without parameters whose flags say why.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.folders import results_folder, write_if_changed
from slm.atomic import read_json

DRAWS_KEPT = 200  # resampled parameters that a fit file keeps, for bands of what follows from them: a choice
STATUSES = ("own", "published", "re-evaluated", "derived", "second-hand")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One fitted law. Rates are per natural logarithm; losses in nats; compute in FLOPs."""

    law: str
    family: str
    measure: str
    """What the law describes: a loss column, or a benchmark."""
    params: dict[str, float]
    """The constants, then what follows from them in closed form."""
    constants: int = 0
    """How many of them were free."""
    freedom: int = 1
    """Degrees of freedom of the intervals; see `Resampling.freedom`."""
    reflected: bool = False
    """Whether `draws` were mirrored at the point; see `downstream.reflected`."""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    """95 %; see `bootstrap.interval`."""
    stderr: dict[str, float] = field(default_factory=dict)
    """Standard deviation over resamples; of heavy-tailed constants such as A and B it says little."""
    objective: float | None = None
    """Mean of the minimised function over the rows used; None where nothing was minimised."""
    gradient_norm: float | None = None
    """Largest component of the projected gradient of the objective relative to its scale; 0 is a minimum."""
    condition: float | None = None
    """Condition number of the Hessian at the minimum, over the constants off their bounds, each scaled to unit
    curvature; beyond 1e8 some combination of them is hardly determined."""
    basins: int | None = None
    """Distinct minima that the starts ended at."""
    converged_fraction: float | None = None
    """Share of the resamples whose search ended at a stationary point."""
    flags: tuple[str, ...] = ()
    conventions: dict[str, str | int | float | None] = field(default_factory=dict)
    rows: tuple[tuple[str, str], ...] = ()
    """(name, fingerprint) of every run that entered."""
    kept: tuple[str, ...] = ()
    """Names of the runs on the envelope, where the law has one."""
    draws: tuple[tuple[float, ...], ...] = ()
    """`params` in their order, of up to DRAWS_KEPT resamples."""
    hindcast: dict = field(default_factory=dict)
    """How well the law, fitted to small budgets, predicts the large ones; see `analysis/hindcast.py`."""
    status: str = "own"
    """Whose number this is; one of STATUSES."""

    def __post_init__(self) -> None:
        """A number that is none is our mistake, and JSON has no way to write it."""
        numbers = [*self.params.values(), *(end for pair in self.intervals.values() for end in pair)]
        numbers += [*self.stderr.values(), *(value for draw in self.draws for value in draw)]
        numbers += [value for value in (self.objective, self.gradient_norm, self.condition) if value is not None]
        assert all(map(math.isfinite, numbers)), f"{self.identifier}: not all numbers are finite"

    @property
    def identifier(self) -> str:
        return f"{self.law}.{self.family}.{self.measure}"

    @property
    def file_name(self) -> str:
        """Its own for every identifier, whatever families are called."""
        return quote(self.identifier, safe=" ()+,~") + ".json"


Function = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Constants -> values (points,); with constants of shape (draws, 1) -> (draws, points)."""


def band(fit: Fit, function: Function) -> tuple[np.ndarray, np.ndarray] | None:
    """The interval (low, high), each (points,), of what follows from a fit's constants; None without enough draws."""
    if len(fit.draws) < bootstrap.LEAST_DRAWS:
        return None
    point = np.atleast_1d(function({name: np.float64(value) for name, value in fit.params.items()}))
    columns = np.array(fit.draws).T[:, :, None]
    values = np.broadcast_to(function(dict(zip(fit.params, columns, strict=True))), (len(fit.draws), len(point)))
    pairs = [bootstrap.interval(float(p), v, fit.freedom, fit.reflected) for p, v in zip(point, values.T, strict=True)]
    low, high = np.array(pairs).T
    return low, high


def spread(params: Mapping[str, float], draws: np.ndarray, freedom: int, reflected: bool = False) -> dict:
    """The fields `intervals`, `stderr`, `draws`, `freedom`, `reflected` of a Fit, from draws (R, params) of which those
    with a number that is not finite are left out; no intervals from fewer than `bootstrap.LEAST_DRAWS`."""
    draws = np.asarray(draws, float).reshape(-1, len(params))
    draws = draws[np.isfinite(draws).all(1)]
    found: dict = {"freedom": freedom, "reflected": reflected}
    if len(draws) < 2:
        return found
    kept = draws[np.linspace(0, len(draws) - 1, min(DRAWS_KEPT, len(draws))).astype(int)]
    found["draws"] = tuple(tuple(map(float, row)) for row in kept)
    scale = np.maximum(np.abs(draws).max(0), 1e-300)  # squares of far outliers overflow
    errors = (draws / scale).std(0, ddof=1) * scale
    found["stderr"] = dict(zip(params, map(float, errors), strict=True))
    if len(draws) >= bootstrap.LEAST_DRAWS:
        columns = zip(params.items(), draws.T, strict=True)
        found["intervals"] = {
            name: bootstrap.interval(value, column, freedom, reflected) for (name, value), column in columns
        }
    return found


def identities(rows: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """What `Fit.rows` records of a table of runs."""
    return tuple(zip(rows["name"], rows["fingerprint"], strict=True))


def unfitted(rows: pd.DataFrame, reason: str, flags: tuple[str, ...] = (), **labels: object) -> Fit:
    """The `Fit` of a law that these rows cannot determine, with what else there is to say of them."""
    return Fit(params={}, flags=(f"not fitted: {reason}", *flags), rows=identities(rows), **labels)


def write(fits: list[Fit], root: Path, scale: str, only: list[str]) -> None:
    """Write fits and remove those that are no longer made; `only` spares the fits of families not in it."""
    folder = results_folder(root, scale) / "fits"
    folder.mkdir(parents=True, exist_ok=True)  # also where no family was trained at several sizes
    wanted = {folder / fit.file_name: fit for fit in fits}
    for path, fit in wanted.items():
        write_one(fit, path)
    for path in sorted(folder.glob("*.json")):
        if path not in wanted and (not only or read_json(path)["family"] in only):
            path.unlink()


def write_one(fit: Fit, path: Path) -> None:
    """Write one fit as JSON."""
    text = json.dumps(asdict(fit), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_if_changed(path, text.encode())


def read(root: Path, scale: str) -> list[Fit]:
    """All fits of a scale, in the order of their identifiers; `ValueError` when none were made yet."""
    folder = results_folder(root, scale) / "fits"
    paths = sorted(folder.glob("*.json"))
    if not folder.is_dir():
        raise ValueError(f"{folder}: no fits; run `python -m analysis fit --scale {scale}` first")
    return [from_json(read_json(path), path) for path in paths]


def from_json(value: dict, path: Path | str = "fit") -> Fit:
    """The `Fit` whose JSON object this is; `ValueError` naming `path` when it is not one."""
    try:
        return Fit(
            **value
            | {
                "intervals": {name: tuple(pair) for name, pair in value["intervals"].items()},
                "rows": tuple(tuple(row) for row in value["rows"]),
                "draws": tuple(tuple(row) for row in value["draws"]),
                "flags": tuple(value["flags"]),
                "kept": tuple(value["kept"]),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a fit of this version ({error!r}); run `python -m analysis fit` again") from None
