"""The report: one self-contained HTML page with every number, its uncertainty, whose it is, and what it does not mean.

In: results, their drawn figures, and those of the published evidence. Out: HTML text that depends on them alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import pandas as pd

from analysis import summary
from paper_figures import evidence_sections, score_sections, sections, style
from paper_figures.catalogue import FIGURES, MIXED
from paper_figures.results import Results

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
{css}</style></head><body><main>
{body}
</main></body></html>
"""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn figure."""

    svg: str
    caption: str


def page(results: Results, figures: Mapping[str, Picture], published: Mapping[str, Picture]) -> str:
    """The whole page; figures are inlined, nothing is fetched. `published` stand in the section of that name."""
    if results.is_published:
        title, parts = "Published scaling laws of speech language models", _evidence(results, figures, {})
    else:
        title = f"Scaling laws of speech language models, scale {results.scale}"
        parts = [*_own(results, figures), *_evidence(results, published, figures)]
        parts += ["<h2>What the numbers mean, and what they do not</h2>"]
        parts += ["<ul>", *(f"<li>{escape(text)}</li>" for text in sections.limits(results)), "</ul>"]
    css = files("paper_figures").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return _PAGE.format(title=escape(title), css=css, body=body)


def _own(results: Results, figures: Mapping[str, Picture]) -> list[str]:
    """What was run, the figures, laws and tables of own runs alone."""
    parts = _paragraphs(sections.opening(results))
    for heading, paragraphs in (("Figures", []), (MIXED, sections.mixed(results))):
        alone = {name: pic for name, pic in figures.items() if not FIGURES[name].is_beside}
        shown = [_figure(name, name, pic) for name, pic in alone.items() if FIGURES[name].heading == heading]
        parts += [f"<h2>{heading}</h2>", *_paragraphs(paragraphs), *shown] if shown or heading == "Figures" else []
    parts += ["<h2>Fitted laws</h2>"]
    parts += [part for section in summary.sections(results.fits) for part in _section(section)]
    for heading, paragraphs, rows in [*score_sections.tables(results), *sections.tables(results)]:
        parts += [f"<h2>{escape(heading)}</h2>", *_paragraphs(paragraphs), _table(rows)]
    return parts


def _evidence(results: Results, published: Mapping[str, Picture], figures: Mapping[str, Picture]) -> list[str]:
    """The papers' numbers: alone (`published`), and those figures where ours stand beside them."""
    parts = ["<h2>Published evidence</h2>", *_paragraphs(evidence_sections.opening(results))]
    parts += [_figure(name, f"published-{name}", picture, " (published)") for name, picture in published.items()]
    beside = {name: picture for name, picture in figures.items() if FIGURES[name].is_beside}
    parts += [_figure(name, name, picture, " (published and own)") for name, picture in beside.items()]
    return parts + [part for section in evidence_sections.tables() for part in _section(section)]


def _section(section: summary.Section) -> list[str]:
    """A table with its note; flags, which are long, below it, those that are alike told once."""
    heading, rows, note = section
    parts = [f"<h3>{escape(heading)}</h3>", _table(rows.drop(columns="flags", errors="ignore"))]
    told: dict[str, list[str]] = {}
    for row in rows.to_dict("records"):
        if flags := row.get("flags"):
            told.setdefault(flags, []).append(f"{row.get('family', '')} {row.get('benchmark', '')}".strip())
    said = [f"{', '.join(names)}: {flags}" for flags, names in told.items()]
    return parts + [f"<p class='note'>{escape(text)}</p>" for text in (*said, note)]


def _figure(name: str, identifier: str, picture: Picture, whose: str = "") -> str:
    """A figure under its name, with its number in the papers."""
    entry = FIGURES[name]
    after = f", as {entry.paper} of Cuervo & Marxer 2024" if entry.paper[:1] in ("F", "T") else ""
    title = f"{name.replace('_', ' ').capitalize()}{whose}{after}"
    text = f"<figcaption><b>{escape(title)}.</b> {escape(picture.caption)}</figcaption>"
    points = float(re.search(r'<svg[^>]* width="([\d.]+)pt"', picture.svg)[1])
    share = f"max-width: {100 * points / (72 * style.PAGE):.0f}%"  # so that type is as large in all figures
    return f"<figure id='{identifier}'><div style='{share}'>{_inline(picture.svg, identifier)}</div>{text}</figure>"


def _paragraphs(texts: list[str]) -> list[str]:
    return [f"<p>{escape(text)}</p>" for text in texts]


def _table(rows: pd.DataFrame) -> str:
    """An HTML table of a frame of strings; an interval goes on a line of its own."""
    head = "".join(f"<th>{escape(str(column))}</th>" for column in rows.columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows.itertuples(index=False)
    )
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def _cell(text: str) -> str:
    return re.sub(r" (\[[^\]]*\])$", r"<br><small>\1</small>", escape(text))


def _inline(svg: str, name: str) -> str:
    """An SVG element whose ids are its own, so that several can share a page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    return re.sub(r'xlink:href="#', f'xlink:href="#{name}-', body)
