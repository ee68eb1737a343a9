"""`python -m data`: list the token stores of a scale, and prepare them.

In: the table of stores and, for real corpora, `--corpora DIR`. Out: folders below `$SLM_ROOT/stores`.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from data.stores import store_folder, stores
from slm import command
from slm.machine import slm_root, usable_cores
from slm.store import TokenStore

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Scale = Annotated[str, typer.Option(help="micro: the suite's own stories; mini: real files; tiny: a test of the path.")]
Only = Annotated[list[str] | None, typer.Argument(help="Stores, e.g. stories-train/units; all of the scale if none.")]


@app.command("list")
def list_stores(scale: Scale = "micro") -> None:
    """Every store of the scale: its scheme, and its size once it is prepared."""
    table = Table(title=f"stores of scale {scale}, below {slm_root() / 'stores' / scale}")
    for column in ("store", "vocabulary", "documents", "tokens", "units", "hours", "tokens/s"):
        table.add_column(column, justify="left" if column == "store" else "right")
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
    corpora: Annotated[
        Path | None, typer.Option(help="Folder of the real corpora, as their publishers ship them.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that speak and encode.")] = usable_cores(),
) -> None:
    """Make the stores that are missing. Stop it at any time; the next call continues, with the same result."""
    from data.prepare import Workshop
    from data.prepare import prepare as prepare_store

    names = list(only or stores(scale))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        options = {"corpora": corpora, "workers": workers, "progress": progress}
        shop = Workshop(root=slm_root(), scale=scale, table=stores(scale), **options)
        for name in names:
            store = prepare_store(shop, name)
            if store.manifest["skipped"]:
                progress.print(f"{name}: {store.manifest['skipped']} documents skipped, see {store.folder}/skips.jsonl")
    Console().print(f"{len(names)} stores ready below {slm_root() / 'stores' / scale}")


if __name__ == "__main__":
    command.run(app)
