"""The oracle scheme: the synthesiser's own phones as tokens, an upper bound of any unit scheme.

In: alignments kept with spoken documents. Out: an inventory of symbols learnt on training speech, and token ids.
Stress marks are dropped, pauses are one symbol, and runs of pauses are one pause.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from slm.atomic import read_json, write_json

_PAUSE = "pause"
_STRESS = str.maketrans("", "", "ˈˌ")


def without_stress(symbol: str) -> str:
    """An IPA symbol without its stress marks."""
    return symbol.translate(_STRESS)


class Phones:
    """An inventory on disk. Id 0 stands for symbols outside it."""

    def __init__(self, path: Path) -> None:
        self._ids = {symbol: i for i, symbol in enumerate(read_json(path), start=1)}

    def encode(self, phones: list[tuple[float, str]]) -> tuple[np.ndarray, np.ndarray]:
        """(ids, start times in seconds) of the phones of a document."""
        merged = _merged(phones)
        ids = [self._ids.get(symbol, 0) for _, symbol in merged]
        return np.array(ids, dtype=np.int64), np.array([start for start, _ in merged])


def learn_inventory(path: Path, documents: Iterable[list[tuple[float, str]]], vocabulary: int) -> None:
    """Write the sorted symbols of some documents; `ValueError` if they and two special ids exceed `vocabulary`."""
    symbols = sorted({symbol for phones in documents for _, symbol in _merged(phones)})
    if len(symbols) + 2 > vocabulary:
        raise ValueError(f"{len(symbols)} phone symbols and 2 special ids do not fit a vocabulary of {vocabulary}")
    write_json(path, symbols)


def _merged(phones: list[tuple[float, str]]) -> list[tuple[float, str]]:
    merged: list[tuple[float, str]] = []
    for start, symbol in phones:
        plain = without_stress(symbol) or _PAUSE
        if not (plain == _PAUSE and merged and merged[-1][1] == _PAUSE):
            merged.append((start, plain))
    return merged
