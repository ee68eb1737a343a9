"""Run folders and sweep lists of a scale -> four tidy tables: runs, scores, curves, losses.

In: `$SLM_ROOT/runs/SCALE` and `sweeps/SCALE`. Out: DataFrames with the columns of `columns.py`, and their CSV.
A folder without `done.json` is not finished: it is skipped and named. Anything malformed is an error with its file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.columns import FLAGS, TABLES, TEXT
from analysis.folders import results_folder, write_if_changed
from slm.atomic import read_json
from slm.flops import flops_per_token, params_non_embedding, params_total, training_flops
from slm.runlog import RunLog
from slm.spec import RunSpec, fingerprint

CURVE_POINTS = 200  # rows kept of a training curve: a choice, finer than a figure resolves


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What a scale's run folders say; columns and units are in `columns.TABLES`."""

    runs: pd.DataFrame
    scores: pd.DataFrame
    curves: pd.DataFrame
    losses: pd.DataFrame


def collect(root: Path, scale: str) -> tuple[Tables, list[str]]:
    """The tables of a scale's finished runs, and the names of the runs left out: unfinished, or in no listed study.

    `ValueError`, naming the file, for a row that lacks a field, a finished run without its validation loss, or a run
    that a sweep lists with another fingerprint.
    """
    folder = Path(root) / "runs" / scale
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; train the runs of this scale first, or set SLM_ROOT")
    studies = _studies(Path(root) / "sweeps" / scale)
    rows: dict[str, list[dict]] = {table: [] for table in TABLES}
    left_out = []
    for path in sorted(folder.rglob("spec.json")):
        log = RunLog(path.parent)
        if not log.is_done or not log.rows("val"):
            left_out.append(path.parent.relative_to(folder).as_posix())
            continue
        if studies and log.spec.name not in studies:
            left_out.append(f"{log.spec.name} (in no study)")
            continue
        for table, found in _run_rows(log, scale, studies).items():
            rows[table] += found
    tables = {name: pd.DataFrame(rows[name], columns=list(columns)) for name, columns in TABLES.items()}
    return Tables(**tables), left_out


def write(tables: Tables, root: Path, scale: str) -> list[Path]:
    """Write the tables as CSV (floats round-trip exactly) with their column dictionary; the files that changed."""
    folder = results_folder(root, scale) / "tables"
    dictionary = [(table, column, meaning) for table, columns in TABLES.items() for column, meaning in columns.items()]
    frames = {field.name: getattr(tables, field.name) for field in fields(Tables)}
    frames["columns"] = pd.DataFrame(dictionary, columns=["table", "column", "meaning"])
    changed = []
    for name, frame in frames.items():
        text = frame.to_csv(index=False, lineterminator="\n")
        if write_if_changed(folder / f"{name}.csv", text.encode()):
            changed.append(folder / f"{name}.csv")
    return changed


def read(root: Path, scale: str) -> Tables:
    """The tables that `write` wrote."""
    folder = results_folder(root, scale) / "tables"
    if not (folder / "runs.csv").exists():
        raise ValueError(f"{folder}: no tables; run `python -m analysis collect --scale {scale}` first")
    frames = {}
    for name, columns in TABLES.items():
        strings = pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
        if missing := sorted(set(columns) ^ set(strings.columns)):
            raise ValueError(f"{folder / name}.csv: columns {missing} differ from this version's; collect again")
        frames[name] = pd.DataFrame({column: _typed(column, strings[column]) for column in columns})
    return Tables(**frames)


def _typed(column: str, strings: pd.Series) -> pd.Series:
    """A column's values; numbers by Python's own reading, which is exact under every version of pandas."""
    if column in TEXT:
        return strings
    if column in FLAGS:
        return strings == "True"
    try:
        return strings.map(int).astype("int64")
    except ValueError:
        return strings.map(lambda text: float(text) if text else float("nan")).astype(float)


def _studies(folder: Path) -> dict[str, dict[str, str]]:
    """Run name -> study -> the fingerprint that the study's sweep lists."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.json")):
        with _naming(path):
            sweep = read_json(path)
            for run in sweep["runs"]:
                found.setdefault(run["name"], {})[sweep["study"]] = run["fingerprint"]
    return found


def _run_rows(log: RunLog, scale: str, studies: dict[str, dict[str, str]]) -> dict[str, list[dict]]:
    spec = log.spec
    listed = studies.get(spec.name, {})
    for study, expected in listed.items():
        if expected != spec.fingerprint:
            raise ValueError(
                f"{log.folder}: recipe {spec.fingerprint}, but the sweep of study {study!r} lists {expected}; "
                f"list the study again, or delete the folder and train it anew"
            )
    run = _run_row(log, spec) | {"scale": scale, "studies": ";".join(sorted(listed))}
    return {
        "runs": [run],
        "scores": list(_score_rows(log, run)),
        "curves": _curve_rows(log, spec, run),
        "losses": list(_loss_rows(log, spec, run)),
    }


def _run_row(log: RunLog, spec: RunSpec) -> dict:
    with _naming(log.folder / "done.json"):
        done = log.done
        steps, tokens, wall, store = (done[key] for key in ("steps", "tokens", "seconds", "validation"))
        unique = sum(source["unique_tokens"] for source in done["sources"])
        seen = zip(spec.mix, done["sources"], strict=True)
        interleaved = sum(told["tokens"] for source, told in seen if source.spans or source.store.form == "I")
        if tokens != spec.train.tokens:
            raise ValueError(f"{tokens:,} tokens were seen, spec.json asks for {spec.train.tokens:,}; train it anew")
    with _naming(log.folder / "env.json"):
        commit = read_json(log.folder / "env.json")["commit"] or ""
    with _naming(log.folder / "val.jsonl"):
        final = [row for row in log.rows("val") if row["store"] == store]
        if not final:
            raise ValueError(f"no row of store {store!r}, the run's validation store; evaluate or train it anew")
        sums = _sums(final[-1])
    model, first = spec.model, spec.mix[0].store
    return {
        **_labels(spec),
        "schedule": spec.train.schedule,
        "tokenizer": first.tokenizer.kind,
        "unit_stream": fingerprint(first.units) if first.units else "",
        "vocabulary": model.vocabulary,
        "params_total": params_total(model),
        "params_non_embedding": params_non_embedding(model),
        "tokens": tokens,
        "interleaved_tokens": interleaved,
        "unique_tokens": unique,
        "epochs": tokens / unique,
        "steps": steps,
        **training_flops(model, tokens),
        "val_store": store,
        **{("val_seconds" if key == "seconds" else key): value for key, value in sums.items()},
        "wall_seconds": float(wall),
        "commit": commit,
    }


def _labels(spec: RunSpec) -> dict:
    recipe = spec.recipe
    del recipe["train"]["seed"]
    return {
        "name": spec.name,
        "fingerprint": spec.fingerprint,
        "point": fingerprint(recipe),
        "family": spec.family,
        "size": spec.size,
        "budget": spec.budget,
        "seed": spec.train.seed,
    }


def _score_rows(log: RunLog, run: dict) -> Iterator[dict]:
    """The last row of every (store, eval, subset, metric) of a run."""
    with _naming(log.folder / "scores.jsonl"):
        rows = log.rows("scores")
        last = {(row["store"], row["eval"], row["subset"], row["metric"]): row for row in rows}
        shared = {column: run[column] for column in TABLES["scores"] if column in run}
        for row in last.values():
            own = {key: row[key] for key in ("eval", "subset", "metric", "n", "store")}
            own |= {key: _number(row[key]) for key in ("value", "stderr")}
            own |= {key: _number(row.get(key)) for key in ("low", "high", "chance")}
            own |= {"items": row.get("items", row["n"])}  # scores that know no groups count every item as a question
            own |= {key: row.get(key, "") for key in ("decoding", "transcriber")}
            yield shared | own | {key: row.get(key, 0) for key in ("dropped", "truncated", "shots")}


def _number(value: float | None) -> float:
    """NaN for what is not known: a single question has no error, an old row no interval."""
    return float("nan") if value is None else float(value)


def _curve_rows(log: RunLog, spec: RunSpec, run: dict) -> list[dict]:
    """At most CURVE_POINTS bins of the training curve, of equal width in log(step), each its mean loss."""
    with _naming(log.folder / "train.jsonl"):
        rows = [(row["step"], row["tokens"], row["nats"]) for row in log.rows("train")]
    if not rows:
        return []
    step, tokens, nats = (np.array(column) for column in zip(*rows, strict=True))
    edges = np.geomspace(1, len(step) + 1, CURVE_POINTS + 1)
    bins = np.searchsorted(edges, np.arange(1, len(step) + 1), side="right")
    ends = np.flatnonzero(np.diff(bins, append=bins[-1] + 1))
    starts = np.concatenate([[0], ends[:-1] + 1])
    shared = {column: run[column] for column in TABLES["curves"] if column in run}
    per_token = flops_per_token(spec.model)["flops_6n"]
    return [
        shared
        | {"step": int(step[end]), "tokens": int(tokens[end]), "flops_6n": per_token * float(tokens[end])}
        | {"nats_per_token": float(nats[start : end + 1].mean())}
        for start, end in zip(starts, ends, strict=True)
    ]


def _loss_rows(log: RunLog, spec: RunSpec, run: dict) -> Iterator[dict]:
    per_token = flops_per_token(spec.model)["flops_6n"]
    with _naming(log.folder / "val.jsonl"):
        rows = log.rows("val")
        last = {row["store"]: number for number, row in enumerate(rows)}
        shared = {column: run[column] for column in TABLES["losses"] if column in run}
        for number, row in enumerate(rows):
            yield (
                shared
                | _sums(row)
                | {
                    "step": row["step"],
                    "tokens": row["tokens"],
                    "flops_6n": per_token * float(row["tokens"]),
                    "final": last[row["store"]] == number,
                    "is_val_store": row["store"] == run["val_store"],
                    "store": row["store"],
                }
            )


def _sums(row: dict) -> dict:
    """The sums of a validation row and its rates; NaN where a rate means nothing."""
    nats, tokens, units, seconds = (row[key] for key in ("sum_nats", "num_tokens", "num_units", "seconds"))
    return {
        "sum_nats": float(nats),
        "num_tokens": tokens,
        "num_units": units,
        "seconds": float(seconds),
        "nats_per_token": nats / tokens,
        "nats_per_unit": nats / units if units else float("nan"),
        "nats_per_second": nats / seconds if seconds else float("nan"),
    }


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn a missing or unreadable field into a `ValueError` that names the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path}: no field {error}; was it written by another version?") from None
    except (TypeError, OSError, ZeroDivisionError) as error:
        raise ValueError(f"{path}: cannot be read as this table ({error})") from None
    except ValueError as error:
        text = str(error)
        raise ValueError(text if str(path) in text else f"{path}: {text}") from None
