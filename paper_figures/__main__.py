"""`python -m paper_figures [NAME...] [--scale SCALE | --from published]`: results to figures and two pages.

In: tables and fits below `$SLM_ROOT/results/SCALE`, or the published numbers that come with the code. Out: PDF, SVG,
caption and the plotted numbers as CSV of every figure in `catalogue.py`; `report.html` and `planner.html`.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis import evidence
from analysis.folders import results_folder, root, write_if_changed
from paper_figures import catalogue, planner, report, results, style
from paper_figures.catalogue import FIGURES
from paper_figures.results import NothingToDraw, Results

Files = dict[str, bytes]
app = typer.Typer(add_completion=False, rich_markup_mode=None)
Names = Annotated[list[str] | None, typer.Argument(help="Which figures; all and the two pages by default.")]
Scale = Annotated[str | None, typer.Option(help="Own runs of a scale: micro (the default), mini or paper.")]
Papers = Annotated[str | None, typer.Option("--from", help="`published`: the papers' numbers instead.")]
HELP = f"Draw figures and tables; the two pages when no name is given.\n\n\b\n{catalogue.listed()}"


@app.command(help=HELP)
def draw(names: Names = None, scale: Scale = None, papers: Papers = None) -> None:
    """Draw figures, and the pages when no name is given."""
    if unknown := set(names or []) - set(FIGURES):
        raise ValueError(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    found = _results(scale, papers)
    folder = results_folder(root(), found.scale)
    drawn = _drawn(found, names or [])
    for name, files in drawn.items():
        for kind, content in files.items():
            write_if_changed(folder / "figures" / f"{name}.{kind}", content)
    print(f"{len(drawn)} figures in {folder / 'figures'}")
    if not names:
        _write_pages(found, drawn, folder)


def _results(scale: str | None, papers: str | None) -> Results:
    """What is meant."""
    if scale is not None and papers is not None:
        raise ValueError("numbers come from one place: give one of --scale and --from")
    if papers not in (None, evidence.SCALE):
        raise ValueError(f"--from {papers}: the only source besides own runs is {evidence.SCALE}")
    return results.load_published() if papers else results.load(root(), scale or "micro")


def _drawn(found: Results, names: list[str]) -> dict[str, Files]:
    """The files of the figures `names`, or of all that there is something to draw of; what is left out is said."""
    drawn = {}
    for name in names or FIGURES:
        try:
            drawn[name] = _files(name, found)
        except NothingToDraw as reason:
            if names:
                raise
            print(f"{name}: left out, {reason}")
    return drawn


def _files(name: str, found: Results, kinds: tuple[str, ...] = ("pdf", "svg")) -> Files:
    """The files of a figure by their endings."""
    module = FIGURES[name].module
    figure = module.draw(found)
    pictures = {kind: style.rendered(figure, kind) for kind in kinds}
    table = module.numbers(found).to_csv(index=False, lineterminator="\n")
    return pictures | {"csv": table.encode(), "txt": f"{module.caption(found)}\n".encode()}


def _write_pages(found: Results, drawn: dict[str, Files], folder: Path) -> None:
    """The report of these results with the published evidence beside them, and the planner of their fits."""
    published = {}
    if not found.is_published:
        others = results.load_published()
        for name, entry in FIGURES.items():
            if not entry.is_beside:
                try:
                    published[name] = _files(name, others, ("svg",))
                except NothingToDraw:
                    continue
    own = {name: _shown(files) for name, files in drawn.items()}
    page = report.page(found, own, {name: _shown(files) for name, files in published.items()})
    write_if_changed(folder / "report.html", page.encode())
    fits = [fit for fit in found.fits if fit.params]
    title = "Planning with published laws" if found.is_published else f"Planning with the laws of scale {found.scale}"
    write_if_changed(folder / "planner.html", planner.page(fits, title).encode())
    print(f"report: {folder / 'report.html'}\nplanner: {folder / 'planner.html'}")


def _shown(files: Files) -> report.Picture:
    return report.Picture(svg=files["svg"].decode(), caption=files["txt"].decode().strip())


def main() -> None:
    """Run the command; a user's mistake is one line and exit status 2."""
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
