"""`python -m data`: list and prepare the token stores of a scale, compare their schemes, fetch corpora, convert units.

In: the table of stores and, for real corpora, `--corpora DIR`. Out: folders below `$SLM_ROOT/stores`.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from data.stores import default_stores, named, store_folder, stores
from slm import command
from slm.machine import Machine, slm_root, usable_cores
from slm.store import TokenStore

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Scale = Annotated[str, typer.Option(help="micro: own stories; mini: real files; paper: published; tiny: a test.")]
Corpora = Annotated[Path | None, typer.Option(help="Folder of the real corpora, as their publishers ship them.")]
Only = Annotated[
    list[str] | None,
    typer.Argument(help="Stores, e.g. stories-train/units or '*/vq25'; none: all but mixed speech and text."),
]


@app.command("list")
def list_stores(scale: Scale = "micro") -> None:
    """Every store of the scale: its scheme, and its size once it is prepared."""
    table = Table(title=f"stores of scale {scale}, below {slm_root() / 'stores' / scale}")
    for column in ("store", "vocabulary", "documents", "tokens", "units", "hours", "tokens/s"):
        table.add_column(column, justify="left" if column == "store" else "right", no_wrap=column == "store")
    for name, spec in stores(scale).items():
        folder = store_folder(slm_root(), scale, name)
        row = [name, f"{spec.tokenizer.vocabulary:,}"]
        if (folder / "manifest.json").exists():
            store = TokenStore(folder)
            hours, rate = store.seconds / 3600, store.num_tokens / store.seconds if store.seconds else None
            row += [f"{len(store):,}", f"{store.num_tokens:,}", f"{store.num_units:,}" if store.num_units else "-"]
            row += [f"{hours:.2f}", f"{rate:.2f}"] if rate else ["-", "-"]
        else:
            row += ["not prepared"]
        table.add_row(*row)
    Console().print(table)


@app.command()
def prepare(
    only: Only = None,
    scale: Scale = "micro",
    corpora: Corpora = None,
    workers: Annotated[int, typer.Option(help="Processes that speak and encode; 1 for a GPU.")] = usable_cores(),
    shard: Annotated[
        str | None, typer.Option(help="i/n, from 0/n: encode one of n shares of the stores of units; merge later.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Where encoders and k-means run: auto, cpu, gpu.")] = "auto",
    devices: Annotated[int, typer.Option(help="Devices that learn a supervised tokenizer together.")] = 1,
    models: Annotated[Path | None, typer.Option(help="Folder of checkpoints; else the hub's cache.")] = None,
    textless_python: Annotated[Path | None, typer.Option(help="Interpreter that has textlesslib.")] = None,
) -> None:
    """Make the stores that are missing. Stop it at any time; the next call continues, with the same result.

    With --shard i/n, as in a SLURM array, only a share of the speech is encoded; the same command without it, once
    all shares are done, checks and merges them.
    """
    from data.prepare import prepare_all, prepare_shard
    from data.workshop import Workshop

    names = named(scale, list(only)) if only else default_stores(scale)
    machine = Machine(accelerator=accelerator, devices=devices, models=models, textless_python=textless_python)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        options = {"corpora": corpora, "workers": workers, "machine": machine, "progress": progress}
        shop = Workshop(root=slm_root(), scale=scale, table=stores(scale), **options)
        if shard:
            prepare_shard(shop, names, *_shard_of(shard))
            Console().print(f"share {shard} is encoded; when all are, the same command without --shard merges them")
            return
        for name, store in zip(names, prepare_all(shop, names), strict=True):
            if store.manifest["skipped"]:
                progress.print(f"{name}: {store.manifest['skipped']} documents skipped, see {store.folder}/skips.jsonl")
    Console().print(f"{len(names)} stores ready below {slm_root() / 'stores' / scale}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A corpus, or a part of one; a name that is unknown lists them.")],
    corpora: Annotated[Path, typer.Option(help="Folder of the real corpora.")],
) -> None:
    """Download what may be downloaded openly, check it, and unpack it as `prepare` reads it.

    Stop it at any time; the next call goes on where it stopped. The licence is shown first.
    """
    from rich.progress import DownloadColumn, TransferSpeedColumn

    from data.fetch import fetch as fetched

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        folder = fetched(name, corpora, progress)
    Console().print(f"{name} is in {folder}")


@app.command()
def compare(only: Only = None, scale: Scale = "micro") -> None:
    """What schemes keep of speech and what they cost: rates, bits, phones, ABX, words, speakers.

    STORES of one corpus are compared over the documents that all of them hold; by default, all prepared stores of
    held-out speech. Writes results/SCALE/schemes.csv, with the meaning of every column beside it.
    """
    from data.compare import compare as compared
    from data.compare import prepared, tables, write

    rows = compared(*prepared(slm_root(), scale, list(only or [])))
    console = Console(width=None if sys.stdout.isatty() else 110)
    for table in tables(rows, console.width):
        console.print(table)
    console.print(f"written to {write(rows, slm_root(), scale)}; schemes_columns.csv says what each measure is")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="File or folder to read.")],
    target: Annotated[Path, typer.Argument(help="File or folder to write; it must not exist.")],
    reads: Annotated[str, typer.Option(help="Format of the source.")],
    writes: Annotated[str, typer.Option(help="Format of the target.")],
    units: Annotated[int | None, typer.Option(help="Number of units K, where the source does not declare it.")] = None,
    collapsed: Annotated[
        bool | None, typer.Option("--collapsed/--frames", help="Whether equal neighbours were merged, if not said.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="fairseq .tsv that names the rows of the source.")] = None,
    sidecars: Annotated[Path | None, typer.Option(help="Folder of SlamKit's aligned .json files.")] = None,
    corpus: Annotated[str | None, typer.Option(help="For a store: name of the corpus.")] = None,
    split: Annotated[str | None, typer.Option(help="For a store: its split.")] = None,
    rate_hz: Annotated[float | None, typer.Option(help="For a store: frames per second of the encoder.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="For a store: name of the encoder, if known.")] = None,
) -> None:
    """Units from one system's format to another's, or to and from a token store; says what is lost.

    Formats: store (ours), gslm, km, textless, textless-names, slamkit-features, slamkit-tokens, slm_scaling,
    interleaved_lm, and parole (reading only).
    """
    from data.convert import convert as converted

    options = {"corpus": corpus, "split": split, "rate_hz": rate_hz, "checkpoint": checkpoint}
    told = {"collapsed": collapsed, "manifest": manifest, "sidecars": sidecars}
    for warning in converted(source, reads, target, writes, units, **told, **options):
        Console(stderr=True).print(f"note: {warning}")
    Console().print(f"{target} written as {writes}")


def _shard_of(text: str) -> tuple[int, int]:
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal()):
        raise ValueError(f"--shard {text}: write i/n, for example 0/8")
    return int(number), int(total)


if __name__ == "__main__":
    command.run(app)
