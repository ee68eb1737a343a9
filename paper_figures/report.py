"""The report: one self-contained HTML page with every number, its uncertainty, and what it does not mean.

In: results and the drawn figures as (name, SVG, caption). Out: HTML text that depends on them alone.
"""

import re
from html import escape
from importlib.resources import files

import pandas as pd

from analysis import summary
from paper_figures import sections
from paper_figures.results import Results

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
{css}</style></head><body><main>
{body}
</main></body></html>
"""


def page(results: Results, figures: list[tuple[str, str, str]]) -> str:
    """The whole page; figures are inlined, nothing is fetched."""
    title = f"Scaling laws of speech language models, scale {results.scale}"
    parts = [f"<h1>{escape(title)}</h1>", *_paragraphs(sections.opening(results))]
    parts += ["<h2>Fitted laws</h2>"]
    for heading, rows, note in summary.sections(results.fits):
        parts += [f"<h3>{escape(heading)}</h3>", _table(rows), f"<p class='note'>{escape(note)}</p>"]
    parts += ["<h2>Figures</h2>"]
    for number, (name, svg, caption) in enumerate(figures, start=1):
        text = f"<figcaption><b>Figure {number}.</b> {escape(caption)}</figcaption>"
        parts.append(f"<figure id='{name}'>{_inline(svg, name)}{text}</figure>")
    for heading, paragraphs, rows in sections.tables(results):
        parts += [f"<h2>{escape(heading)}</h2>", *_paragraphs(paragraphs), _table(rows)]
    parts += ["<h2>What the numbers mean, and what they do not</h2>"]
    parts += ["<ul>", *(f"<li>{escape(text)}</li>" for text in sections.limits(results)), "</ul>"]
    css = files("paper_figures").joinpath("report.css").read_text(encoding="utf-8")
    return _PAGE.format(title=escape(title), css=css, body="\n".join(parts))


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
