"""`python -m analysis collect|fit --scale SCALE`: run folders to tables, tables to fits.

In: `$SLM_ROOT` (default ./out). Out: CSV tables and JSON fits below `results/SCALE`, and the fitted laws on screen.
"""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from analysis import fit as fits_of
from analysis import frame, laws, summary
from analysis.folders import root

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
Scale = Annotated[str, typer.Option(help="Which scale: micro, mini or paper.")]
Only = Annotated[list[str] | None, typer.Option(help="Which families; repeat for several. All by default.")]


@app.command()
def collect(scale: Scale = "micro") -> None:
    """Collect finished runs into tables."""
    tables, unfinished = frame.collect(root(), scale)
    changed = frame.write(tables, root(), scale)
    console = Console()
    console.print(f"{len(tables.runs)} finished runs, {len(tables.scores)} scores; {len(changed)} tables changed")
    if unfinished:
        console.print(f"{len(unfinished)} unfinished runs skipped: {', '.join(unfinished)}")


@app.command()
def fit(scale: Scale = "micro", only: Only = None) -> None:
    """Fit the laws of every family and print them."""
    tables = frame.read(root(), scale)
    families = laws.families(tables, only or [])
    fits = laws.fit_all(tables, families)
    fits_of.write(fits, root(), scale, families)
    console = Console()
    for title, frame_, note in summary.sections(fits):
        table = Table(title=title, caption=note, title_justify="left", caption_justify="left")
        for column in frame_.columns:
            table.add_column(column)
        for row in frame_.itertuples(index=False):
            table.add_row(*row)
        console.print(table)


def main() -> None:
    """Run the command; a user's mistake is one line and exit status 2."""
    try:
        app()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
