"""What `list` prints: a study's runs with what each would cost, and the sum with and without shared trunks.

In: runs, their scale, what an hour of a device costs. Out: a table and a few lines on the terminal. Imports no torch.
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.estimate import Estimate, estimates
from experiments.scales import Scale
from slm.flops import params_non_embedding, params_total
from slm.spec import RunSpec

COLUMNS = ("run", "N", "N non-emb.", "D", "6ND", "updates", "epochs", "unique", "repeats", "memory")
WIDTH = 160
"""Columns of text where there is no terminal to ask, enough for every row."""
FEW_HOURS = 10
"""Fewer device-hours in all are given in minutes (a choice)."""


def print_list(study: str, runs: list[RunSpec], scale: Scale, root: Path, price: float | None) -> None:
    """Print a study's runs and their cost; `price` is that of an hour of a device, in any currency.

    A study is listed as if it ran alone: those that share trunks cost less together.
    """
    found = estimates(runs, scale, root)
    counted, executed = sum(e.device_hours for e in found), sum(e.executed_device_hours for e in found)
    unit, per_hour = ("minutes", 60) if counted < FEW_HOURS else ("hours", 1)
    table = Table(title=f"{study} at {scale.name}: {len(runs)} runs")
    for column in (*COLUMNS, unit):
        table.add_column(column, justify="left" if column == "run" else "right")
    for estimate in found:
        table.add_row(*_cells(estimate), f"{estimate.device_hours * per_hour:,.2f}")
    console = Console()
    (console if console.is_terminal else Console(width=max(WIDTH, console.width))).print(table)
    flops, flops_executed = sum(e.flops for e in found), sum(e.executed_flops for e in found)
    hours = f"{counted * per_hour:,.1f} {unit} of one {scale.device}"
    print(f"{flops:.2e} FLOPs counted (6ND, tied embedding in N once): {hours}")
    if flops_executed < flops:
        print(f"{flops_executed:.2e} executed, because wsd runs share their trunk: {executed * per_hour:,.1f} {unit}")
    if price is not None:
        print(f"cost at {price:g} an hour: {executed * price:,.2f}, {counted * price:,.2f} without sharing")
    for line in _notes(found, scale):
        print(line)


def _cells(estimate: Estimate) -> list[str]:
    run, unknown = estimate.run, estimate.corpus_tokens is None
    rows = run.train.batch_tokens // run.model.context
    return [
        run.name,
        f"{params_total(run.model):,}",
        f"{params_non_embedding(run.model):,}",
        f"{run.train.tokens:,}",
        f"{estimate.flops:.2e}",
        f"{run.train.steps:,}",
        "not prepared" if unknown else f"{estimate.epochs:.2f}",
        "" if unknown else _short(estimate.unique_tokens),
        "" if unknown else f"{estimate.repeats:.2f}",
        f"{_bytes(estimate.step_bytes)}, {estimate.windows} of {rows}",
    ]


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _short(count: int) -> str:
    for unit, word in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.2f}{word}"
    return str(count)


def _notes(found: list[Estimate], scale: Scale) -> list[str]:
    """What the numbers rest on."""
    speeds = {estimate.run.size: estimate for estimate in found}
    words = {"measured": "finished runs here", "stated": "the scale's table", "guessed": "the scale's FLOP/s"}
    bases = {basis: [size for size, estimate in speeds.items() if estimate.basis == basis] for basis in words}
    notes = [
        f"speed, from {words[basis]}: "
        + ", ".join(f"{size} {speeds[size].tokens_per_second:,.0f} tokens/s" for size in sizes)
        for basis, sizes in bases.items()
        if sizes
    ]
    notes.append("memory: of one device, with so many windows of an update at once; repeats: D/unique - 1")
    if unprepared := sorted({name for estimate in found for name in estimate.unprepared}):
        stated = [name for name in unprepared if name in scale.stated_tokens]
        notes.append(
            f"not prepared: {', '.join(unprepared[:3])}"
            + (f" and {len(unprepared) - 3} more" if len(unprepared) > 3 else "")
            + ("; epochs are of stated token counts" if stated else "")
        )
    return notes
