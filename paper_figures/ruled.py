"""Ruled tables as figures: cells of text under bold headings, in blocks that fit the page.

In: a frame of strings, how many of its first columns name the rows, and what looks special. Out: a figure whose type
is no smaller than `style.SMALLEST`. A cell or heading may hold several lines.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import style

SIZE = 6.2  # points
_EM = SIZE / 72  # inches
_LINE, _PADDING = 1.3 * _EM, 0.75 * _EM
_LETTER = 0.6 * _EM  # inches that a letter of the typeface takes, digits and capitals in the majority
_GAP = 1.6 * _EM  # between columns
_BETWEEN = 2 * _LINE  # between blocks


@dataclass(frozen=True, kw_only=True)
class Ruled:
    """A table to draw."""

    cells: pd.DataFrame
    """Strings; the column names are the headings."""
    names: int = 1
    """How many of the first columns name the rows: left-aligned, and repeated in every block."""
    strong: frozenset[int] = frozenset()
    """Rows with a strong rule above them."""
    looks: Mapping[tuple[int, str], dict] = field(default_factory=dict)
    """(row, column) -> options of that cell's text."""


def figure(table: Ruled) -> Figure:
    """The table, its blocks of columns one below the other; a block leaves out the rows that it has no cell of."""
    blocks = [_Block.of(table, columns) for columns in _columns(table)]
    width = min(max(max(sum(block.widths) for block in blocks), style.COLUMN), style.PAGE)
    total = sum(sum(block.heights) for block in blocks) + (len(blocks) - 1) * _BETWEEN + 2 * _PADDING
    drawn = style.sheet(width, total, layout=None)
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set(xlim=(0, width), ylim=(-total + _PADDING, _PADDING))
    top = 0.0
    for block in blocks:
        _draw(axes, table, block, top, width)
        top -= sum(block.heights) + _BETWEEN
    return drawn


def crossed(
    rows: pd.DataFrame, keys: list[str], across: str, cell: Callable[[pd.Series], str]
) -> tuple[list[tuple], dict[str, list[str]]]:
    """Long rows as a table: the distinct `keys`, and for every value of `across` a column of cells, one for each of
    them; empty where there is no row."""
    lines = list(rows[keys].drop_duplicates().itertuples(index=False, name=None))
    text = {tuple(row[name] for name in (*keys, across)): cell(row) for _, row in rows.iterrows()}
    return lines, {name: [text.get((*line, name), "") for line in lines] for name in dict.fromkeys(rows[across])}


def breaks(lines: list[tuple], count: int) -> frozenset[int]:
    """The lines whose first `count` values differ from those of the line above."""
    return frozenset(i for i in range(1, len(lines)) if lines[i][:count] != lines[i - 1][:count])


def fitted(row: pd.Series, shown: Callable[[float], str]) -> str:
    """A fitted `value`, flags of our own fits told by a dagger, over its interval; a dash where nothing was fitted."""
    if "at chance" in row["flags"]:
        return "at chance"
    if pd.isna(row["value"]):
        return "–"
    mark = "†" if row["flags"] and row["status"] == "own" else ""
    interval = "" if pd.isna(row["low"]) else f"\n[{shown(row['low'])}, {shown(row['high'])}]"
    return f"{shown(row['value'])}{mark}{interval}"


@dataclass(frozen=True)
class _Block:
    columns: list[str]
    rows: list[int]
    widths: list[float]
    heights: list[float]
    """Of the heading and of every row, inches."""

    @classmethod
    def of(cls, table: Ruled, columns: list[str]) -> "_Block":
        told = (table.cells[columns[table.names :]] != "").any(axis=1).to_numpy()
        rows = [place for place in range(len(table.cells)) if told[place]]
        texts = [columns, *table.cells[columns].iloc[rows].itertuples(index=False)]
        heights = [_LINE * max(text.count("\n") + 1 for text in row) + _PADDING for row in texts]
        return cls(columns, rows, [_width(table, name) for name in columns], heights)


def _columns(table: Ruled) -> list[list[str]]:
    """The columns in blocks no wider than a page, each with the columns of names first."""
    columns = list(table.cells.columns)
    names = columns[: table.names]
    start = sum(_width(table, name) for name in names)
    blocks, wide = [list(names)], start
    for name in columns[table.names :]:
        if wide + _width(table, name) > style.PAGE and len(blocks[-1]) > len(names):
            blocks.append(list(names))
            wide = start
        blocks[-1].append(name)
        wide += _width(table, name)
    return blocks


def _width(table: Ruled, name: str) -> float:
    longest = max((len(line) for text in table.cells[name] for line in text.split("\n")), default=0)
    return _GAP + _LETTER * max(longest, 1.12 * max(map(len, name.split("\n"))))  # headings are bold


def _draw(axes: Axes, table: Ruled, block: _Block, top: float, width: float) -> None:
    full = sum(block.widths)
    stretch = width / full if full > 0.7 * width else 1.0  # a short last block keeps its own width
    for line, (place, height) in enumerate(zip([None, *block.rows], block.heights, strict=True)):
        left = 0.5 * _GAP
        for number, (name, wide) in enumerate(zip(block.columns, block.widths, strict=True)):
            centred = number >= table.names
            text, look = (name, {"weight": "bold"}) if place is None else (table.cells[name].iloc[place], {})
            shared = {"ha": "center" if centred else "left", "va": "center_baseline", "fontsize": SIZE}
            look = shared | {"linespacing": 1.2} | look | dict(table.looks.get((place, name), {}))
            axes.text(left + centred * 0.5 * (stretch * wide - _GAP), top - height / 2, text, **look)
            left += stretch * wide
        top -= height
        below = block.rows[line] if line < len(block.rows) else None
        strong = line == 0 or below is None or any(row in table.strong for row in range((place or 0) + 1, below + 1))
        look = {"color": style.INK, "linewidth": 0.7} if strong else {"color": "#DDDDDD", "linewidth": 0.4}
        axes.plot([0, stretch * full], [top, top], **look)
