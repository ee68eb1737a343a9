"""Anybody's runs as tables: a CSV or JSON lines with N, D and a loss or scores, its columns mapped onto ours.

In: a file, which column is what, what the wanted laws need. Out: `frame.Tables`, the loss column and the conventions
that fits record. What cannot be meant is refused with its rows: `checked` holds our own tables to the same, where
`diverged` runs stay out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.columns import TABLES
from analysis.frame import Tables
from analysis.parametric import training_flops

NAMES = {  # what a column is -> the names tried for it
    "N": ("N", "params_total"),
    "D": ("D", "tokens"),
    "C": ("C", "flops_6n"),
    "U": ("U", "unique_tokens"),
    "loss": ("loss", "nats_per_token"),
    "name": ("name",),
    "family": ("family",),
    "size": ("size",),
    "chance": ("chance",),
    "tokenizer": ("tokenizer",),
    "n_convention": ("n_convention",),
    "loss_unit": ("loss_unit",),
}
NUMBERS = ("N", "D", "C", "U", "loss")
OTHER_CONVENTION = (0.001, 0.2)
"""One size whose N differ by a share in between was counted in two ways: less is rounding, more is another model."""
SAME_FLOPS = 0.01  # of 6ND, within which a given C is 6ND: a choice
SHOWN = 8  # rows that a message names


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the rows must bring for a law: of `loss`, `U` and `metric`, and how many rows."""

    columns: tuple[str, ...] = ()
    rows: int = 1


@dataclass(frozen=True, kw_only=True)
class Table:
    """A read table."""

    tables: Tables
    column: str
    """The runs' loss column: `loss`, or ours where the file has it."""
    conventions: dict[str, str]
    loss_units: dict[str, str]
    """Family -> unit of its loss, where the file says it."""

    def conventions_of(self, family: str) -> dict[str, str]:
        """What fits of a family record of the file."""
        return self.conventions | ({"loss_unit": self.loss_units[family]} if family in self.loss_units else {})


def mapping(text: str) -> dict[str, str]:
    """`N=params,D=tokens,loss=val_loss,blimp=accuracy` -> what: column; a name that is none of NAMES is a benchmark."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    found = {what.strip(): (column.strip() or what.strip()) for what, _, column in pairs}
    if len(found) < len(pairs) or "" in found:
        raise ValueError(f"--map {text}: every name once, as in N=params,D=tokens,loss=val_loss,blimp=accuracy")
    return found


def read(path: Path | str, columns: Mapping[str, str], needs: Mapping[str, Needs]) -> Table:
    """The runs of a file, a family per value of its column `family`, else one named after the file.

    `columns`: what -> its column, as `mapping` reads it; others are looked for under NAMES. `needs`: law -> its needs.
    `ValueError` in one line, with rows and a remedy, for what is missing, impossible or mixed.
    """
    path = Path(path)
    raw = _rows(path)
    found = _columns(path, raw, columns)
    metrics = {what: column for what, column in columns.items() if what not in NAMES}
    _check_needs(path, raw, found, metrics, needs)
    labels = pd.Series([f"row {number}" for number in range(1, len(raw) + 1)])
    numbers = {what: _numbers(path, raw[found[what]], what, labels) for what in NUMBERS if what in found}
    texts = {what: raw[found[what]].map(_text) for what in ("name", "family", "size", "tokenizer") if what in found}
    told = {what: raw[found[what]].map(_text) for what in ("n_convention", "loss_unit") if what in found}
    for what, values in told.items():
        _one_value(path, values, what, texts.get("family") if what == "loss_unit" else None, labels)
    runs, conventions = _runs(path, numbers, texts, labels)
    _one_count(str(path), runs, labels)
    column = "nats_per_token" if found.get("loss") == "nats_per_token" else "loss"
    if "loss" in numbers:
        runs[column] = numbers["loss"]
        conventions["loss_read_from"] = found["loss"]
    units = dict(zip(runs["family"], told["loss_unit"], strict=True)) if "loss_unit" in told else {}
    counted = f" ({told['n_convention'][0]})" if "n_convention" in told and told["n_convention"][0] else ""
    conventions |= {"table": path.name, "N": found["N"] + counted, "D": found["D"]}
    chance = _chances(path, raw, found, labels)
    scores = [_scores(path, runs, raw[metrics[name]], name, chance, labels, conventions) for name in metrics]
    frames = {"runs": runs, "scores": pd.concat(scores) if scores else pd.DataFrame()}
    units = {family: unit for family, unit in units.items() if unit}
    return Table(tables=_tables(frames, column), column=column, conventions=conventions, loss_units=units)


def checked(runs: pd.DataFrame, family: str) -> None:
    """`ValueError` that names the runs of a family of our own tables which no law may be fitted to together."""
    rows = runs[runs["family"] == family].reset_index(drop=True)
    place, labels = f"family {family}", rows["name"]
    for name in ("params_total", "tokens", "flops_6n"):
        _positive(place, rows[name].astype(float), name, labels)
    _one_count(place, rows, labels)
    kinds = rows["tokenizer"] + " tokens, store " + rows["val_store"].astype(str)
    padded = rows["tokenizer"].eq("pretrained")  # published models pad one vocabulary to several widths
    kinds += (", vocabulary " + rows["vocabulary"].astype(str)).where(~padded, "")
    if kinds.nunique() > 1:
        raise ValueError(
            f"{place}: losses of different tokens or stores mixed ({_by_value(kinds, labels)}): "
            f"train what belongs to another curve as a family of its own"
        )


def diverged(runs: pd.DataFrame, column: str) -> np.ndarray:
    """(rows,) which runs have no positive loss where others of their family have one: they diverged or were never
    measured, and no law of the loss may take them."""
    loss = runs[column].astype(float)
    lost = ~(np.isfinite(loss) & (loss > 0))
    measured = loss.notna().groupby(runs["family"]).transform("any")  # text has no loss per second of speech
    return (lost & measured).to_numpy(bool)


def _rows(path: Path) -> pd.DataFrame:
    """The file's cells, as they are."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            raise TypeError("it is a JSON array: write its objects one a line, without brackets and commas between")
        if text.lstrip().startswith("{"):
            found = pd.DataFrame([_object(line) for line in text.splitlines() if line.strip()], dtype=object)
        else:
            found = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: neither a CSV with a header nor JSON lines ({reason})") from None
    if found.empty:
        raise ValueError(f"{path}: no rows")
    if len(found.columns) == 1 and (other := next((mark for mark in ";\t|" if mark in str(found.columns[0])), "")):
        raise ValueError(f"{path}: its columns are separated by {other!r}: separate them by commas")
    return found


def _object(line: str) -> dict:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise TypeError(f"a line is {type(value).__name__}, not an object")
    return value


def _columns(path: Path, raw: pd.DataFrame, given: Mapping[str, str]) -> dict[str, str]:
    """What -> its column in the file, for everything of NAMES that there is."""
    for what, column in given.items():
        if column not in raw.columns:
            if column == what:
                has = ", ".join(map(str, raw.columns))
                raise ValueError(f"{path}: --map {what}: no such column; it has {has}: --map takes NAME=COLUMN")
            raise ValueError(f"{path}: no column {column!r} for {what}; it has {', '.join(map(str, raw.columns))}")
    known = {what: [name for name in names if name in raw.columns] for what, names in NAMES.items()}
    found = {what: names[0] for what, names in known.items() if names}
    return found | {what: column for what, column in given.items() if what in NAMES}


def _check_needs(
    path: Path, raw: pd.DataFrame, found: Mapping[str, str], metrics: Mapping[str, str], needs: Mapping[str, Needs]
) -> None:
    there = set(found) | ({"metric"} if metrics else set())
    has = ", ".join(map(str, raw.columns))
    for what in ("N", "D"):
        if what not in there:
            raise ValueError(f"{path}: no column {what}; it has {has}: name it with --map {what}=COLUMN")
    for law, need in needs.items():
        for what in need.columns:
            if what not in there:
                if what == "metric":
                    raise ValueError(
                        f"{path}: law {law} needs a benchmark's accuracy; the file has {has}: map it, as in "
                        f"--map blimp=COLUMN"
                    )
                raise ValueError(f"{path}: law {law} needs a {what}; the file has {has}: name it, --map {what}=COLUMN")
        if len(raw) < need.rows:
            raise ValueError(f"{path}: {len(raw)} rows, law {law} needs at least {need.rows}: add runs")
    if not there & {"loss", "metric"}:
        raise ValueError(f"{path}: no loss and no score; it has {has}: --map loss=COLUMN, or --map blimp=COLUMN")


def _numbers(path: Path, cells: pd.Series, what: str, labels: pd.Series) -> pd.Series:
    """Floats (an integer 6·N·D would overflow); `ValueError` that names rows which hold no positive number."""
    return _positive(str(path), cells.map(_number), f"{what} (column {cells.name})", labels)


def _positive(place: str, values: pd.Series, what: str, labels: pd.Series) -> pd.Series:
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        raise ValueError(f"{place}: {what} is no positive number in {_some(labels[bad])}: correct or delete them")
    return values


def _number(cell: object) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def _text(cell: object) -> str:
    return "" if cell is None or cell != cell else str(cell)


def _one_value(place: Path, values: pd.Series, what: str, within: pd.Series | None, labels: pd.Series) -> None:
    """Refuse a column of conventions that is not one value, in the table or in each family."""
    groups = values.groupby(within) if within is not None else [("", values)]
    for group, part in groups:
        if part.nunique() > 1:
            of = f" of family {group}" if group else ""
            raise ValueError(
                f"{place}: {what}{of} has several values ({_by_value(part, labels)}): "
                f"numbers of different conventions make no curve, convert them or give each its own table"
            )


def _one_count(place: str, rows: pd.DataFrame, labels: pd.Series) -> None:
    """Refuse a size whose parameters are counted in two ways."""
    for (_, size), part in rows.groupby(["family", "size"], sort=True):
        n = part["params_total"].astype(float)
        share = n.max() / n.min() - 1
        if OTHER_CONVENTION[0] < share < OTHER_CONVENTION[1]:
            raise ValueError(
                f"{place}: size {size} has N from {n.min():.6g} ({labels[n.idxmin()]}) to {n.max():.6g} "
                f"({labels[n.idxmax()]}), as where embeddings count in some rows only: count N in one way"
            )


def _runs(
    path: Path, numbers: dict[str, pd.Series], texts: dict[str, pd.Series], labels: pd.Series
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The runs table without its loss, and what C and names are."""
    n, d = numbers["N"], numbers["D"]
    name = texts.get("name", labels)
    shared = name.duplicated(keep=False)
    name = name.where(~shared, name + " (" + labels + ")" if "name" in texts else name)
    flops, told = _flops(path, training_flops(n, d), numbers.get("C"), labels)
    conventions = {"C": told} | ({"names": f"shared by {shared.sum()} rows, so numbered"} if shared.any() else {})
    unique = np.minimum(numbers.get("U", d), d)  # U may be given as the size of the corpus; D tokens show at most D
    columns = {"name": name, "fingerprint": "", "point": name, "studies": "", "seed": 0}
    columns |= {"family": texts.get("family", path.stem), "size": texts.get("size", n.map("{:.6g}".format))}
    columns |= {"tokenizer": texts.get("tokenizer", "")}
    columns |= {"params_total": n, "tokens": d, "unique_tokens": unique, "epochs": d / unique, "flops_6n": flops}
    return pd.DataFrame(columns, index=n.index), conventions


def _flops(path: Path, product: pd.Series, given: pd.Series | None, labels: pd.Series) -> tuple[pd.Series, str]:
    if given is None:
        return product, "6ND"
    same = (given / product - 1).abs() <= SAME_FLOPS
    if same.all():
        return product, "6ND, as the column C has it"
    if same.any():
        raise ValueError(
            f"{path}: C is 6ND in {_some(labels[same])} and not in {_some(labels[~same])}: "
            f"count FLOPs in one way, or leave C out"
        )
    return given, "as given, not 6ND"


def _chances(path: Path, raw: pd.DataFrame, found: Mapping[str, str], labels: pd.Series) -> pd.Series | float:
    """What guessing gets in each row, as a fraction; NaN where the file does not say."""
    if "chance" not in found:
        return float("nan")
    values = raw[found["chance"]].map(_number)
    bad = ~((values >= 0) & (values < 1))
    if bad.any():
        raise ValueError(f"{path}: chance is no fraction below 1 in {_some(labels[bad])}: give 0.5 for two options")
    return values


def _scores(
    path: Path,
    runs: pd.DataFrame,
    cells: pd.Series,
    benchmark: str,
    chance: pd.Series | float,
    labels: pd.Series,
    conventions: dict[str, str],
) -> pd.DataFrame:
    """A row per run that has a score; per cent everywhere is read as such and noted in `conventions`."""
    given = cells.map(_text) != ""
    values = cells[given].map(_number)
    place = f"{path}: {benchmark} (column {cells.name})"
    if (bad := ~(values.between(0, 100))).any():
        raise ValueError(f"{place} is no accuracy in {_some(labels[values.index[bad]])}: correct it or leave it empty")
    per_cent = values > 1.5
    above = values > 1
    if above.any() and not per_cent.all():
        few = above if above.mean() <= 0.5 else ~per_cent
        raise ValueError(
            f"{place} mixes per cent and fractions: {_some(labels[values.index[few]])} unlike the rest; give all alike"
        )
    if per_cent.any():
        values = values / 100
        conventions["read_as_per_cent"] = ", ".join(filter(None, [conventions.get("read_as_per_cent"), benchmark]))
    rows = runs[given].assign(eval=benchmark, subset="all", metric="accuracy_mean", value=values)
    return rows.assign(chance=chance if isinstance(chance, float) else chance[given])


def _tables(frames: dict[str, pd.DataFrame], column: str) -> Tables:
    """The frames with all columns of ours, and the loss column."""
    wanted = {name: [*columns] for name, columns in TABLES.items()}
    for name in ("runs", "scores"):
        wanted[name] += [column] if column not in wanted[name] else []
    made = {name: frames.get(name, pd.DataFrame()) for name in wanted}
    return Tables(**{name: frame.reset_index(drop=True).reindex(columns=wanted[name]) for name, frame in made.items()})


def _some(labels: pd.Series) -> str:
    """Rows by number, `rows 3, 17`, or runs by name."""
    names = list(labels[:SHOWN])
    if all(name.startswith("row ") for name in names):
        names = [name.removeprefix("row ") for name in names]
        names[0] = ("rows " if len(labels) > 1 else "row ") + names[0]
    return ", ".join(names) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")


def _by_value(values: pd.Series, labels: pd.Series) -> str:
    """`a: rows 1, 2; b: row 3`."""
    return "; ".join(
        f"{value or 'empty'}: {_some(labels[part.index])}" for value, part in values.groupby(values, sort=True)
    )
