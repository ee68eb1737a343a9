"""What tokenization schemes keep of speech and what they cost, side by side.

In: token stores, and the times of words and phones. Out: one row per scheme (columns: `measures/columns.py`), as a
table for the terminal and as CSV. Schemes are compared over the documents that all of them hold.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table

from data.documents import is_benchmark
from data.measures.columns import COLUMNS, GROUPS
from data.measures.families import FAMILIES, Measure
from data.measures.grid import Events
from data.measures.scheme import Scheme, Speech
from data.phones import without_stress
from data.stores import store_folder
from data.stores import stores as stores_of
from slm.atomic import write_text
from slm.spec import StoreSpec
from slm.store import TokenStore

_LABEL_WIDTH = 2 + max(len(column) for group in GROUPS.values() for column in group)


def compare(stores: dict[str, TokenStore], alignments: dict[str, list[dict]]) -> pd.DataFrame:
    """A row per store, which are named corpus/scheme; a measure without a number is None, and `notes` says why.

    `alignments` holds rows {id, words, phones} by store name; it is enough that one store of a corpus has them.
    Stores are of one corpus if their recipes say so, however many documents they take. `ValueError` for stores of
    text, and for stores of one corpus that share no document.
    """
    corpora: dict[object, list[str]] = {}
    for name, store in stores.items():
        if store.frame_hz is None:
            kind = store.spec.tokenizer.kind
            raise ValueError(f"{name}: its tokens are {kind} without times; compare stores of speech")
        corpora.setdefault(replace(store.spec.corpus, documents=None), []).append(name)
    rows = []
    for names in corpora.values():
        alignment = next((alignments[name] for name in names if alignments.get(name)), [])
        rows += _compared({name: stores[name] for name in names}, alignment)
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def prepared(root: Path, scale: str, names: list[str]) -> tuple[dict[str, TokenStore], dict[str, list[dict]]]:
    """The stores of these names, by default all of held-out speech that are there, and the alignments of their speech.

    A store without an alignment of its own is helped by any prepared store of the same corpus that has one.
    """
    table = stores_of(scale)
    if unknown := set(names) - set(table):
        raise ValueError(
            f"no store {', '.join(sorted(unknown))!r}: `python -m data list --scale {scale}` shows the names"
        )
    there = {name for name in table if (store_folder(root, scale, name) / "manifest.json").exists()}
    chosen = names or [name for name in table if name in there and _is_held_out_speech(table[name])]
    if not chosen:
        raise ValueError(
            f"no store of held-out speech is prepared at scale {scale}: see `python -m data prepare --help`"
        )
    wanted = {table[name].corpus for name in chosen}
    opened = {
        name: TokenStore(store_folder(root, scale, name))
        for name in table
        if name in chosen or (name in there and table[name].corpus in wanted)
    }
    aligned = {name: store for name, store in opened.items() if "alignment.jsonl" in store.manifest["files"]}
    of_corpus = {table[name].corpus: store.rows("alignment") for name, store in aligned.items()}
    return {name: opened[name] for name in chosen}, {name: of_corpus.get(table[name].corpus, []) for name in chosen}


def _is_held_out_speech(spec: StoreSpec) -> bool:
    return (
        "train" not in spec.corpus.split.split("-")
        and not is_benchmark(spec.corpus)
        and spec.tokenizer.kind not in ("text", "joint")
    )


def write(rows: pd.DataFrame, root: Path, scale: str) -> Path:
    """Write `results/SCALE/schemes.csv` and, beside it, what its columns mean; the path of the table."""
    path = Path(root) / "results" / scale / "schemes.csv"
    meanings = pd.DataFrame(list(COLUMNS.items()), columns=["column", "meaning"])
    write_text(path.with_name("schemes_columns.csv"), meanings.to_csv(index=False, lineterminator="\n"))
    write_text(path, rows.to_csv(index=False, lineterminator="\n"))
    return path


def tables(rows: pd.DataFrame, width: int) -> list[Group]:
    """Tables for a terminal of that width: schemes as columns, measures as rows, what is missing below.

    One per corpus, or several where its schemes do not fit side by side.
    """
    found = []
    for corpus, group in rows.groupby("corpus", sort=False):
        held: list[int] = []
        taken = _LABEL_WIDTH
        for place, label in enumerate(group["scheme"]):
            needed = max(len(label), 7) + 2
            if held and taken + needed > width:
                found.append(_table(corpus, group.iloc[held]))
                held, taken = [], _LABEL_WIDTH
            held.append(place)
            taken += needed
        found.append(_table(corpus, group.iloc[held]))
    return found


def scheme(store: TokenStore, ids: Iterable[str]) -> Scheme:
    """The documents `ids` of a store, in that order."""
    place = {row["id"]: i for i, row in enumerate(store.rows("documents"))}
    chosen = [place[key] for key in ids]
    durations = np.concatenate([store.durations(i) for i in chosen]).astype(np.int64)
    counts = store.index["tokens"][chosen] - 1
    passed = np.concatenate([[0], np.cumsum(durations)])  # frames before each token, from the first document on
    bounds = passed[np.concatenate([[0], np.cumsum(counts)])]
    return Scheme(
        kind=store.spec.tokenizer.kind,
        vocabulary=store.vocab_size - 1,
        frame_hz=store.frame_hz,
        has_encoder=store.spec.units is not None,
        tokens=Events(
            ids=np.concatenate([store.document(i) for i in chosen]).astype(np.int64),
            starts=(passed[:-1] - np.repeat(bounds[:-1], counts)) / store.frame_hz,
            counts=counts,
        ),
        frames=int(durations.sum()),
        units=int(store.index["units"][chosen].sum()),
        ends=np.diff(bounds) / store.frame_hz,
        reading=store.manifest["provenance"].get("reading", {}),
    )


def _compared(stores: dict[str, TokenStore], alignment: list[dict]) -> list[dict]:
    """The rows of the stores of one corpus."""
    documents = [{row["id"]: row for row in store.rows("documents")} for store in stores.values()]
    ids = sorted(set.intersection(*map(set, documents)))
    if not ids:
        raise ValueError(f"{', '.join(stores)} share no document: compare schemes of the same documents")
    schemes = {name: scheme(store, ids) for name, store in stores.items()}
    speech = _speech([documents[0][key] for key in ids], list(schemes.values()), alignment)
    measures = [family(speech) for family in FAMILIES]
    return [_row(name, scheme, measures) for name, scheme in schemes.items()]


def _speech(documents: list[dict], schemes: list[Scheme], alignment: list[dict]) -> Speech:
    aligned = {row["id"]: row for row in alignment}
    rows = [aligned.get(document["id"], {"words": [], "phones": []}) for document in documents]
    heard = [[(start, without_stress(symbol)) for start, symbol in row["phones"]] for row in rows]
    symbols = {symbol for phones in heard for _, symbol in phones}
    numbers = {symbol: i for i, symbol in enumerate(sorted(symbols | {""}))}  # the pause sorts first
    spoken = [document["seconds"] for document in documents]
    return Speech(
        ids=[document["id"] for document in documents],
        seconds=np.min([spoken, *(scheme.ends for scheme in schemes)], axis=0),
        speakers=[document["speaker"] for document in documents],
        texts=[document["text"] for document in documents],
        phones=_events([[(start, numbers[symbol]) for start, symbol in phones] for phones in heard]),
        words=_events([[(start, 0) for start, _, _ in row["words"]] for row in rows]),
        frame_hz=min(scheme.frame_hz for scheme in schemes),
    )


def _events(documents: list[list[tuple[float, int]]]) -> Events:
    pairs = np.array([pair for events in documents for pair in events], dtype=float).reshape(-1, 2)
    counts = np.array([len(events) for events in documents])
    return Events(ids=pairs[:, 1].astype(np.int64), starts=pairs[:, 0], counts=counts)


def _row(name: str, scheme: Scheme, measures: list[Measure]) -> dict:
    found = {column: value for measure in measures for column, value in measure(scheme).items()}
    reasons: dict[str, list[str]] = {}
    for column, value in found.items():
        if isinstance(value, str):
            reasons.setdefault(value, []).append(column)
    corpus, _, label = name.rpartition("/")
    numbers = {column: None if isinstance(value, str) else value for column, value in found.items()}
    notes = "; ".join(f"{', '.join(missing)}: {reason}" for reason, missing in reasons.items())
    return {"corpus": corpus, "scheme": label, "kind": scheme.kind} | numbers | {"notes": notes}


def _table(corpus: str, rows: pd.DataFrame) -> Group:
    table = Table(title=corpus, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for label in rows["scheme"]:
        table.add_column(label, justify="right", no_wrap=True)
    for heading, group in GROUPS.items():
        if rows[list(group)].isna().all(axis=None):
            continue
        table.add_row(f"[bold]{heading}[/bold]")
        for column in group:
            table.add_row(f"  {column.replace('_', ' ')}", *map(_shown, rows[column]))
    missing: dict[str, list[str]] = {}
    for row in rows.itertuples():
        for note in filter(None, row.notes.split("; ")):
            missing.setdefault(note, []).append(row.scheme)
    return Group(table, *(f"– {note} ({', '.join(schemes)})" for note, schemes in missing.items()))


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
