"""The planner: one self-contained HTML page to think with, from fitted laws.

In: fits, and the peak rates of devices. Out: HTML text that depends on them alone and fetches nothing; the laws are
evaluated in the page, by the formulas of `analysis`, so that a reader can ask without Python.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from importlib.resources import files
from string import Template

from analysis.fit import Fit
from paper_figures.style import label

SCRIPTS = ("laws", "words", "plan", "question", "charts")
"""Parts of the script before the page's own, which is `planner.js`."""
DEVICES: dict[str, float] = {
    "A100": 312e12,
    "H100 SXM": 989.4e12,
    "H100 PCIe": 756e12,
    "H200": 989.4e12,
    "B200": 2.25e15,
    "A40": 149.7e12,
    "L40S": 362.05e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165.2e12,
    "MI300X": 1307.4e12,
}
"""Dense bf16 FLOP/s, as `slm/peaks.py` has them, where their sources are; this folder may not import it."""


def page(fits: list[Fit], title: str, devices: Mapping[str, float] = DEVICES) -> str:
    """The whole page; `devices` are dense bf16 FLOP/s by name.

    Fits are embedded as they are, families shown in their order; a page without an address opens with the family whose
    loss law has the most runs. `ValueError` without any device.
    """
    if not devices:
        raise ValueError("no devices: give the peak FLOP/s of at least one by its name")
    names = dict.fromkeys(name for fit in fits for name in (fit.family, fit.measure))
    labels = {name: label(name) for name in names if label(name) != name}
    data = {"fits": [asdict(fit) for fit in fits], "labels": labels, "devices": dict(devices)}
    scripts = [f"planner_{part}.js" for part in SCRIPTS] + ["planner.js"]
    return Template(_source("planner.html")).substitute(
        title=escape(title),
        css=_source("planner.css"),
        data=_embedded(data),
        script="\n".join(map(_source, scripts)),
    )


def _source(name: str) -> str:
    return files("paper_figures").joinpath(name).read_text(encoding="utf-8")


def _embedded(value: object) -> str:
    """JSON that no text in it can end the script element of, or open a comment in."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
