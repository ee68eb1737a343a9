"""Question: which part of the recipe does interleaving need? One change at a time, against the full one.

In: runs of the study interleaved at its last size, their scores and held-out losses. Out: a table as figure and
numbers, a row per family, accuracies with their 95 % intervals, marks where they differ from the reference.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paper_figures import ruled, style
from paper_figures.fig_knowledge import (
    AMOUNTS,
    FACTS,
    INTERVALS,
    SCORED,
    STUDY,
    asked,
    at_last_size,
    difference,
    members,
)
from paper_figures.results import Results

ACCURACIES = {
    (FACTS, "TT"): "facts\nT→T",
    (FACTS, "ST"): "facts\nS→T",
    (FACTS, "SS"): "facts\nS→S",
    ("topic_cloze", "SS"): "Topic Cloze\nS→S",
    ("story_cloze", "SS"): "Story Cloze\nS→S",
    ("minimal_pairs", "T"): "Minimal pairs\nT",
    ("minimal_pairs", "S"): "Minimal pairs\nS",
}
"""(measure, form) -> heading."""
LOSSES = {"T": ("nats_per_token", "text loss,\nnats a token"), "S": ("nats_per_unit", "speech loss,\nnats a unit")}
"""Form of the held-out documents -> column of the losses, heading."""
TEXT = "text-lm"
"""Family of the text LM that one run starts from."""
ORDER = (AMOUNTS, "base-longer", "facts-apart", "real-words", "no-pairs", "no-speech", "no-text", "sims", "spirit-lm")
ORDER += ("eta-0.2", "eta-0.4", "rate-50", "rate-25", "rate-12.5", "rate-6.25")
ORDER += ("text-falls", "untied", "shared-head", "from-text-lm", "from-speaker")
"""Of families; others come after them, the text LM last."""
_MARKS = {1: "▲", -1: "▼"}


def numbers(results: Results) -> pd.DataFrame:
    """One row per run and measure; `difference` to `reference`, a run's name, and its 95 % interval, of accuracies.

    `measure` loss is of held-out documents of form T or S, `metric` the unit it is in.
    """
    runs = compared(members(results))
    measured = [asked(results, runs, *dict.fromkeys(measure for measure, _ in ACCURACIES)), _losses(results, runs)]
    rows = pd.concat([part for part in measured if len(part)] or measured[:1], ignore_index=True)
    rows = rows[[key in ACCURACIES or key[0] == "loss" for key in zip(rows["measure"], rows["form"], strict=True)]]
    if rows.empty or set(rows["family"]) <= {TEXT}:
        raise results.nothing(f"no measured run of study {STUDY}")
    rank = {name: place for place, name in enumerate(runs["name"])}
    rows = rows.sort_values("name", key=lambda names: names.map(rank), kind="stable").reset_index(drop=True)
    return rows.assign(**_against(rows, _reference(runs)))


def draw(results: Results) -> Figure:
    """A ruled table, families down and measures across; triangles mark what differs from the reference."""
    rows = numbers(results)
    keys = [*ACCURACIES, *(("loss", form) for form in LOSSES)]
    headings = ACCURACIES | {("loss", form): heading for form, (_, heading) in LOSSES.items()}
    lines = list(rows[["name", "family", "interleaved_tokens", "tokens"]].drop_duplicates("name").itertuples())
    reference = rows["reference"].iloc[0]
    cells = {
        "one change": [_called(line, reference) for line in lines],
        "inter-\nleaved": [style.amount(line.interleaved_tokens) for line in lines],
        "all\ntokens": [style.amount(line.tokens) for line in lines],
    }
    text = {(row["name"], row["measure"], row["form"]): _cell(row) for _, row in rows.iterrows()}
    for key in keys:
        if any((line.name, *key) in text for line in lines):
            cells[headings[key]] = [text.get((line.name, *key), "") for line in lines]
    looks = {
        (place, headings[key]): {"color": style.GREY}
        for place, line in enumerate(lines)
        for key in [("loss", "S")]
        if _other_units(results, line.name, reference)
    }
    strong = frozenset(place for place, line in enumerate(lines) if place and lines[place - 1].name == reference)
    return ruled.figure(ruled.Ruled(cells=pd.DataFrame(cells), strong=strong, looks=looks))


def caption(results: Results) -> str:
    """What the table compares with what, and how text fared."""
    rows = numbers(results)
    counts = rows[rows["measure"] != "loss"].groupby("measure", sort=False)["n"].max()
    said = ", ".join(f"{count:,.0f} of {style.label(measure)}" for measure, count in counts.items())
    text = [
        f"One change at a time of the recipe with most interleaved tokens, at one size; a run each. Per cent, with "
        f"{INTERVALS} (questions: {said or 'none yet'}). {SCORED} Minimal pairs have no prompt."
    ]
    if reference := rows["reference"].iloc[0]:
        text.append(
            f"▲ and ▼: above or below {reference} by more than 1.96 standard errors of the difference, the two "
            f"accuracies taken as independent; as both answer the same questions the errors are rather too large "
            f"(python -m analysis paired). Of many comparisons about one in twenty is marked by luck, and other seeds "
            f"would differ as well."
        )
    else:
        text.append("The run that the others are compared with is not finished.")
    text.append("Losses are of held-out stories; a unit of another tokenizer (grey) is another unit.")
    return " ".join([*text, *_text_kept(results, rows)])


def _text_kept(results: Results, rows: pd.DataFrame) -> list[str]:
    """The text loss before and after, and how many tokens it is over."""
    losses = rows[(rows["measure"] == "loss") & (rows["form"] == "T")].drop_duplicates("family").set_index("family")
    if TEXT not in losses.index or "from-text-lm" not in losses.index:
        return []
    before, after = losses.loc[TEXT], losses.loc["from-text-lm"]
    return [
        f"Text kept: {before['value']:.3f} nats a token in the text LM, {after['value']:.3f} after training on speech "
        f"and text from it. The ids are the same; the former is of {before['n']:,} tokens of its own held-out stories, "
        f"the latter of {after['n']:,} of fewer of them, marks among them."
    ]


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the last size in the order of the table: of the amounts the largest, and none."""
    own = at_last_size(runs)
    amounts = own.loc[own["family"] == AMOUNTS, "interleaved_tokens"]
    kept = own[(own["family"] != AMOUNTS) | own["interleaved_tokens"].isin([amounts.max(), 0])]
    rank = {family: place for place, family in enumerate(ORDER)} | {TEXT: len(ORDER) + 1}
    order = kept["family"].map(rank).fillna(len(ORDER))
    return kept.assign(rank=order).sort_values(["rank", "interleaved_tokens", "name"], ascending=[True, False, True])


def _reference(runs: pd.DataFrame) -> str:
    """Name of the run with most interleaved tokens; empty where no run of amounts has any."""
    amounts = runs[(runs["family"] == AMOUNTS) & (runs["interleaved_tokens"] > 0)]
    return amounts["name"].iloc[0] if len(amounts) else ""


def _against(rows: pd.DataFrame, reference: str) -> dict[str, object]:
    """Columns: the reference's name, and what accuracies differ from its own by, with the ends of a normal interval."""
    own = rows[(rows["name"] == reference) & (rows["measure"] != "loss")].set_index(["measure", "form"])
    found = np.full((len(rows), 3), np.nan)
    for place, (_, row) in enumerate(rows.iterrows()):
        if row["name"] != reference and (row["measure"], row["form"]) in own.index:
            gain, margin = difference(row, own.loc[(row["measure"], row["form"])])
            found[place] = gain, gain - margin, gain + margin
    columns = dict(zip(("difference", "difference_low", "difference_high"), found.T, strict=True))
    return {"reference": reference} | columns


def _losses(results: Results, runs: pd.DataFrame) -> pd.DataFrame:
    """Held-out losses of documents of text (T) and speech (S): those of the corpus that the run's loss is of."""
    losses = results.tables.losses
    final = losses[losses["final"].astype(bool) & losses["name"].isin(runs["name"])]
    found = []
    for run in runs.to_dict("records"):
        corpus = run["val_store"].partition("/")[0].removesuffix("-S")
        wanted = {f"{corpus}-{form}": form for form in LOSSES} | ({corpus: "T"} if run["family"] == TEXT else {})
        for row in final[final["name"] == run["name"]].to_dict("records"):
            if form := wanted.get(row["store"].partition("/")[0]):
                unit = LOSSES[form][0]
                counted = row["num_tokens"] if form == "T" else row["num_units"]
                told = {"measure": "loss", "form": form, "metric": unit, "value": row[unit], "n": counted}
                labels = {key: run[key] for key in ("family", "name", "size", "params_total", "tokens")}
                labels |= {"status": results.status, "interleaved_tokens": run["interleaved_tokens"]}
                found.append(labels | told)
    return pd.DataFrame(found)


def _called(line, reference: str) -> str:
    if line.family == AMOUNTS:
        return "the recipe (reference)" if line.name == reference else "not interleaved, fewer tokens"
    return style.label(line.family)


def _other_units(results: Results, name: str, reference: str) -> bool:
    """Whether a run's units are not those of the reference."""
    streams = results.runs.set_index("name")["unit_stream"]
    return bool(reference) and streams[name] != streams[reference]


def _cell(row: pd.Series) -> str:
    if row["measure"] == "loss":
        return f"{row['value']:.3f}"
    marked = not pd.isna(row["difference"]) and row["difference_low"] * row["difference_high"] > 0
    mark = _MARKS[int(np.sign(row["difference"]))] if marked else ""
    interval = "" if pd.isna(row["low"]) else f"\n[{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    return f"{100 * row['value']:.1f}{mark}{interval}"
