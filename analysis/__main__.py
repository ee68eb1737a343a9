"""`python -m analysis collect|fit|forecast|paired`: run folders to tables, tables to laws, laws to what a score takes.

In: `$SLM_ROOT` (default ./out), a table of anybody's runs, or the papers' numbers. Out: CSV tables and JSON fits below
`results`, or where `--out` says; laws, forecasts and comparisons on screen.
"""

import sys
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis import evidence, forecast, frame, laws, summary
from analysis import fit as fits_of
from analysis import paired as pairs
from analysis import table as tables_of
from analysis.bootstrap import Resampling
from analysis.fit import Fit
from analysis.folders import results_folder, root
from slm.atomic import read_json

WIDTH = 140  # columns, unless a table needs more; a narrower terminal wraps, nothing is cut
DELTAS = {"paper": 0.03, "chinchilla": 1e-3, "absolute": 0.0, "squares": float("inf")}
app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Scale = Annotated[str, typer.Option(help="Which scale: micro, mini or paper.")]
Only = Annotated[list[str] | None, typer.Option(help="Which families; repeat for several. All by default.")]
Family = Annotated[list[str] | None, typer.Option(help="Which families; repeat for several. All by default.")]
OwnScale = Annotated[str | None, typer.Option(help="Own runs of a scale: micro (the default), mini or paper.")]
File = Annotated[Path | None, typer.Option(help="Anybody's runs instead: a CSV or JSON lines, a row per run.")]
Papers = Annotated[str | None, typer.Option("--from", help="`published`: the papers' numbers instead.")]
Law = Annotated[list[str] | None, typer.Option(help=f"Which laws: {', '.join(laws.LAWS)}. All that the rows bear.")]
Map = Annotated[
    str,
    typer.Option(
        "--map",
        help="What is which column of --table: N=params,D=tokens,loss=val_loss,blimp=accuracy. "
        f"{', '.join(tables_of.NAMES)} have a meaning, any other name is a benchmark's accuracy. Columns called so "
        "already, or as in our tables, need no mention; benchmarks do.",
    ),
]
Column = Annotated[
    str | None,
    typer.Option(help="Loss of own runs: nats_per_token (the default), nats_per_unit or nats_per_second."),
]
Delta = Annotated[
    str,
    typer.Option(
        help="Huber's, on log residuals: a number, or paper (0.03), chinchilla (1e-3), absolute (0), squares (inf)."
    ),
]
Tied = Annotated[bool, typer.Option("--tied", help="One exponent for N and D in the parametric law.")]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples behind the intervals; 0: no intervals.")]
By = Annotated[str, typer.Option(help="Resample all runs that share this column, such as size; else run by run.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the resamples.")]
Out = Annotated[Path | None, typer.Option(help="A file such as fit.json for one fit, or a folder; else below results.")]


@app.command()
def collect(scale: Scale = "micro") -> None:
    """Collect finished runs into tables."""
    tables, left_out = frame.collect(root(), scale)
    changed = frame.write(tables, root(), scale)
    console = Console()
    console.print(f"{len(tables.runs)} finished runs, {len(tables.scores)} scores; {len(changed)} tables changed")
    if left_out:
        console.print(f"{len(left_out)} unfinished or unlisted runs left out: {', '.join(left_out)}")


@app.command(
    epilog="Example: python -m analysis fit --table runs.csv --law parametric "
    "--map N=params,D=tokens,loss=val_loss --delta chinchilla --bootstrap 4000 --out fit.json"
)
def fit(
    scale: OwnScale = None,
    table: File = None,
    papers: Papers = None,
    law: Law = None,
    columns: Map = "",
    column: Column = None,
    delta: Delta = "paper",
    tied: Tied = False,
    bootstrap: Bootstrap = 1000,
    by: By = "",
    seed: Seed = 0,
    only: Only = None,
    out: Out = None,
) -> None:
    """Fit laws with intervals to own runs, to a table of anybody's, or to published numbers, and print them."""
    source = _one_source(scale, papers, table)
    names, families = tuple(law or ()), only or []
    laws.known(names)
    _check_columns(table, columns, column)
    _check_out(out, papers is None and _surely_several(names, families))
    resampling = Resampling(count=bootstrap, seed=seed, by=by)
    options = laws.Options(column=column or laws.Options.column, delta=_delta(delta), tied=tied, resampling=resampling)
    fits = _fitted(source, table, columns, names, families, options)
    _check_out(out, len(fits) > 1)
    for section in summary.sections(fits):
        _show(*section)
    if papers is not None and not names:
        _show(*summary.frontier(evidence.frontier(evidence.fits())))
        _show(*summary.agreement(evidence.agreement(evidence.redone(bootstrap, seed))))
    if out is None and table is None and not names:
        fits_of.write(fits, root(), source, families)  # and none is left that is no longer made
        written = f" in {results_folder(root(), source) / 'fits'}"
    else:
        written = _write(fits, None if table else results_folder(root(), source) / "fits", out)
    Console().print(f"fits: {len(fits)}, families: {len({fit.family for fit in fits})}{written}", soft_wrap=True)


@app.command(
    "forecast", epilog="Example: python -m analysis forecast --from published --metric sblimp-macro --target 80"
)
def what_it_takes(
    metric: Annotated[str, typer.Option(help="Benchmark, as fits name it: blimp, or blimp-macro for its phenomena.")],
    target: Annotated[float, typer.Option(help="Accuracy wanted, a fraction; above 1 it is per cent.")],
    family: Family = None,
    scale: OwnScale = None,
    papers: Papers = None,
    fits_at: Annotated[
        Path | None,
        typer.Option("--fits", help="Fits that `fit --out` wrote, instead: a JSON file, or a folder of them."),
    ] = None,
) -> None:
    """Say how much compute, which N and which D a score takes, by every fitted law; run `fit` first."""
    source = _one_source(scale, papers, fits_at, "--fits")
    if not 0 < target <= 100:
        raise ValueError(f"--target {target:g}: an accuracy is a fraction up to 1 or per cent up to 100")
    fits = _fits_to_forecast(source, fits_at)
    goal = target / 100 if target > 1 else target
    known = {fit.family for fit in fits}
    if missing := sorted(set(family or []) - known):
        raise ValueError(f"no fits of family {', '.join(missing)}; there are {', '.join(sorted(known))}")
    asked = [fit for fit in fits if not family or fit.family in family]
    rows = [row for name in _families_with(asked, metric) for row in forecast.forecast(asked, metric, goal, name)]
    console = Console(highlight=False)
    for name in dict.fromkeys(row.family for row in rows):
        best = next(row for row in rows if row.family == name)
        console.print(escape(summary.promise(best)), soft_wrap=True)
        for text in best.warnings:
            if any(word in text for word in forecast.GRAVE):
                console.print(f"[bold]Warning:[/bold] {escape(text)}")
    console.print()
    _show(*summary.forecasts(rows))


@app.command()
def paired(
    first: Annotated[str, typer.Argument(help="Name of a run, the folder below runs/SCALE.")],
    second: Annotated[str, typer.Argument(help="Name of the run that is compared with it.")],
    only: Annotated[list[str] | None, typer.Option("--eval", help="Which benchmarks; repeat for several.")] = None,
    metric: Annotated[str | None, typer.Option(help="How items are scored; the headline by default.")] = None,
    subsets: Annotated[bool, typer.Option("--subsets", help="Also by subset.")] = False,
    scale: Scale = "micro",
) -> None:
    """Compare two runs item by item on every benchmark that both were scored on."""
    folders = root() / "runs" / scale / first, root() / "runs" / scale / second
    for folder in folders:
        if not (folder / "spec.json").exists():
            raise ValueError(f"{folder}: no such run; the name is the folder below runs/{scale}")
    rows = pairs.table(folders, only or [], metric, subsets)
    _show(f"{second} against {first}, on the same items", summary.comparison(rows), summary.COMPARISON)


def _one_source(scale: str | None, papers: str | None, file: Path | None, option: str = "--table") -> str:
    """The name of the results that are meant; `option` is that of `file`."""
    if sum(choice is not None for choice in (scale, file, papers)) > 1:
        raise ValueError(f"numbers come from one place: give one of --scale, {option} and --from")
    if papers not in (None, evidence.SCALE):
        raise ValueError(f"--from {papers}: the only source besides own runs is {evidence.SCALE}")
    return papers or scale or "micro"


def _check_columns(table: Path | None, columns: str, column: str | None) -> None:
    if columns and table is None:
        raise ValueError("--map names columns of a --table: give the table, or leave --map out")
    if column and table is not None:
        raise ValueError(f"--column {column} is for own runs: the loss of a --table is named by --map loss=COLUMN")


def _surely_several(names: tuple[str, ...], only: list[str]) -> bool:
    """Whether these laws of these families are several fits, whatever the rows hold."""
    of_loss = [law for name in names for law in laws.IDENTIFIERS[name] if law in laws.OF_LOSS]
    return not names or len(names) > 1 or len(of_loss) > 1 or (len(set(only)) > 1 and "compare" not in names)


def _is_file(out: Path) -> bool:
    """Whether a place to write to means one file."""
    return out.is_file() or (bool(out.suffix) and not out.is_dir())


def _check_out(out: Path | None, several: bool) -> None:
    if out is not None and several and _is_file(out):
        raise ValueError(f"{out}: several fits for one file: name a folder, or fewer by --law and --only")


def _fits_to_forecast(source: str, path: Path | None) -> list[Fit]:
    """The fits of published numbers, of a scale's own runs, or those that `fit --out` wrote at `path`."""
    if path is None and source == evidence.SCALE:
        with Console().status("fitting"):
            return evidence.all_fits()
    if path is None:
        return fits_of.read(root(), source)
    paths = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not paths:
        raise ValueError(f"{path}: no fits; write some by `python -m analysis fit --out {path}`")
    return [fits_of.from_json(read_json(file), file) for file in paths]


def _delta(text: str) -> float:
    """Huber's δ by its name or number."""
    try:
        value = DELTAS[text] if text in DELTAS else float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise ValueError(f"--delta {text}: a number from 0 to inf, or one of {', '.join(DELTAS)}")
    return value


def _fitted(
    source: str, table: Path | None, columns: str, names: tuple[str, ...], only: list[str], options: laws.Options
) -> list[Fit]:
    """The fits of a table, of published numbers or of a scale's own runs, with a line that tells what is going on."""
    with Console().status("fitting") as status:

        def told(name: str) -> None:
            status.update(f"fitting: {name}")

        if table is not None:
            return _fits_of_table(table, columns, names, only, options, told)
        if source == evidence.SCALE:
            return _fits_of_papers(names, only, options)
        return laws.fit_all(frame.read(root(), source), only, options, names, told)


def _fits_of_table(
    path: Path, columns: str, names: tuple[str, ...], only: list[str], options: laws.Options, told: laws.Told
) -> list[Fit]:
    needs = {name: laws.NEEDS[name] for name in names}
    found = tables_of.read(path, tables_of.mapping(columns), needs)
    families = only or sorted(found.tables.runs["family"].unique())  # of one size, too: laws say what that lacks
    fits = laws.fit_all(found.tables, families, replace(options, column=found.column), names, told)
    return [replace(fit, conventions=fit.conventions | found.conventions_of(fit.family)) for fit in fits]


def _fits_of_papers(names: tuple[str, ...], only: list[str], options: laws.Options) -> list[Fit]:
    fits = evidence.all_fits(options)
    if missing := sorted(set(only) - {fit.family for fit in fits}):
        raise ValueError(f"no published family {missing[0]}; there are {', '.join(sorted({f.family for f in fits}))}")
    wanted = {law for name in names for law in laws.IDENTIFIERS[name]}
    chosen = [fit for fit in fits if (not only or fit.family in only) and (not names or fit.law in wanted)]
    if not chosen:
        raise ValueError(f"no published numbers bear {', '.join(names)}: per-run losses are not published")
    return chosen


def _write(fits: list[Fit], folder: Path | None, out: Path | None) -> str:
    """Write fits to `out`, or one by one into `folder`; where they are, for people."""
    place = out or folder
    if place is None:
        return "; --out writes them"
    for fit in fits:
        fits_of.write_one(fit, place if out is not None and _is_file(out) else place / fit.file_name)
    return f" in {place}"


def _families_with(fits: list[Fit], metric: str) -> list[str]:
    """Families that have an accuracy law of a benchmark; `ValueError` with the nearest names where none has."""
    scored = [fit for fit in fits if fit.law.startswith("accuracy_") and len(fit.params) > 1]
    found = sorted({fit.family for fit in scored if fit.measure == metric})
    if not found:
        if alone := [fit for fit in fits if fit.law.startswith("accuracy_") and fit.measure == metric]:
            printed = "only an exponent is printed, and no score follows from it alone"
            raise ValueError(f"of {metric!r} {printed if any(fit.params for fit in alone) else alone[0].flags[0]}")
        known = sorted({fit.measure for fit in scored})
        near = [name for name in known if metric in name] or get_close_matches(metric, known, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"no accuracy law on {metric!r}: {hint}There are {', '.join(known) or 'none: score the runs'}")
    return found


def _show(title: str, rows: pd.DataFrame, note: str) -> None:
    """Print a section, as wide as it needs to be; intervals on a line of their own, flags below the table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in rows.columns.drop("flags"):
        table.add_column(column, no_wrap=True)
    for row in rows.drop(columns="flags").itertuples(index=False):
        table.add_row(*(escape(cell.replace(" [", "\n[")) for cell in row))
    needed = Console(width=10 * WIDTH).measure(table).maximum
    console = Console(width=max(WIDTH, Console().width, needed), highlight=False)
    console.print(f"[bold]{escape(title)}[/bold]", table, sep="\n", end="")
    labels = rows["family"] if "family" in rows else pd.Series("", rows.index)
    labels = labels.str.cat(rows["benchmark"], sep=" ") if "benchmark" in rows else labels
    for flags, flagged in labels[rows["flags"] != ""].groupby(rows["flags"], sort=False):
        console.print(f"  {', '.join(dict.fromkeys(flagged))}: {escape(flags)}")
    console.print(f"  {escape(note)}\n", style="dim")


def main() -> None:
    """Run the command; a user's mistake is one line and exit status 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
