"""What the report says: its paragraphs and tables, generated from the numbers.

In: results. Out: text and frames of strings; `report.py` turns them into HTML.
"""

import pandas as pd

from analysis import noise
from analysis.downstream import METRIC, is_at_chance, largest
from analysis.levers import levers
from analysis.summary import number
from paper_figures.fig_knowledge import members
from paper_figures.results import Results
from paper_figures.score_sections import METRICS, Section
from paper_figures.style import amount, label


def opening(results: Results) -> list[str]:
    """What was run and how long it took."""
    runs = results.runs
    own = runs[runs["schedule"] != ""]  # published runs were trained elsewhere
    counts = runs["family"].value_counts(sort=False)
    families = ", ".join(f"{label(family)} ({count})" for family, count in counts.items())
    studies = sorted({study for listed in runs["studies"] for study in listed.split(";") if study})
    return [
        "How loss and linguistic ability of speech language models grow with compute, for which tokens, on which data, "
        "and how far behind text they stay: the questions of Cuervo and Marxer (2024), asked at this scale.",
        f"{len(runs)} runs: {families}. Studies: {', '.join(studies) or 'none listed'}. Models of "
        f"{runs['params_total'].min():,} to {runs['params_total'].max():,} parameters on {runs['tokens'].min():,} to "
        f"{runs['tokens'].max():,} tokens, {number(runs['flops_6n'].min())} to {number(runs['flops_6n'].max())} FLOPs "
        f"a run; {number(own['flops_6n'].sum())} FLOPs and {duration(runs['wall_seconds'].sum())} of training in all "
        f"(the sum over runs, whatever ran side by side).",
        "N counts all parameters with the tied embedding once, D all training tokens, and C = 6ND. Losses are natural "
        "logarithms. Intervals of laws are 95 % bootstraps over runs, of laws of best accuracy "
        "over answers, those of scores over questions.",
    ]


def tables(results: Results) -> list[Section]:
    """The sections after those of the scores, those without rows left out."""
    made = [_levers(results), _noise(results), _held_out(results), _runs(results)]
    return [section for section in made if len(section[2])]


def mixed(results: Results) -> list[str]:
    """What the study of interleaved speech and text asks, and what its numbers are over; nothing without its runs."""
    runs = members(results)
    if runs.empty:
        return []
    families = runs["family"].nunique()
    most, wall = runs["interleaved_tokens"].max(), runs["wall_seconds"].sum()
    return [
        f"Do documents whose words are text here and speech there carry to speech what was only ever written (Zeng et "
        f"al. 2024)? {len(runs)} runs of {families} recipes on up to {amount(most)} interleaved tokens, "
        f"{duration(wall)} of training. The spoken words of most of them were never recorded: a model of the suite "
        f"says them in speech tokens.",
        "Every recipe is one run of one seed: an interval says how sure an accuracy is for other questions, not for "
        "another seed, and recipes whose difference is marked differ as runs, not yet as recipes.",
    ]


def limits(results: Results) -> list[str]:
    """What the numbers mean and do not mean, as far as the tables can tell."""
    runs = results.runs
    low, high = runs["params_total"].min(), runs["params_total"].max()
    chance = sorted({f"{label(f.family)} on {label(f.measure)}" for f in results.fits if _flagged(f, "at chance")})
    weak = sorted({label(f.family) for f in results.fits if _flagged(f, "identified") or _flagged(f, "at bound")})
    text = [
        f"Laws describe runs of {low:,} to {high:,} parameters on this data; the constants of other corpora, units and "
        "sizes differ, and beyond their compute every law extrapolates: the hindcasts say how well it did so far.",
        "Nats per token compare only between runs with the same tokens: units, pieces, phones and text each have their "
        "own. Nats per second of speech compare across tokens of the same speech; exponents of a pure power law do "
        "not change with the unit of loss, E, A and B do.",
        "The likelihood of one segmentation into unigram pieces is an upper bound on the nats of the units.",
        "Bootstrap intervals vary which runs were drawn, not the seed of a run nor the data: they are uncertain "
        "themselves with few runs, and an envelope over fewer runs is never below that over all.",
        "An exponent of accuracy is a local slope of raw accuracy, chance included. A factor f of compute for text "
        "needs f to the ratio of the exponents for speech.",
    ]
    if (runs["schedule"] == "wsd").any():
        text.append(
            "Runs of one size may share their constant-rate part (schedule wsd) and are then not independent, which "
            "makes intervals over runs too narrow."
        )
    if chance:
        text.append(f"At chance, so that no trend may be read: {'; '.join(chance)}.")
    text += _why_chance(results)
    if weak:
        text.append(f"Some constants are not pinned down for {', '.join(weak)}: read the flags beside them.")
    if (runs["epochs"] > 1).any():
        repeated = int((runs["epochs"] > 1).sum())
        text.append(f"{repeated} runs saw tokens more than once (at most {runs['epochs'].max():.2f} epochs).")
    return text


def _why_chance(results: Results) -> list[str]:
    """Where some families are at chance on a benchmark and others are not, that its items are not at fault."""
    text = []
    scores = results.scores[(results.scores["subset"] == "all") & (results.scores["metric"] == METRIC)]
    for benchmark, group in scores.groupby("eval", sort=True):
        best = {family: largest(rows) for family, rows in group.groupby("family", sort=True)}
        at_chance = [label(family) for family, row in best.items() if is_at_chance(row)]
        above = [label(family) for family, row in best.items() if not is_at_chance(row)]
        if at_chance and above:
            text.append(
                f"{label(benchmark)} is at chance for {', '.join(at_chance)} and above it for {', '.join(above)}, on "
                f"the same items: they can be told apart, but not yet by models of those tokens at these budgets."
            )
    return text


def duration(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s` or `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _flagged(fit, word: str) -> bool:
    return any(word in flag for flag in fit.flags)


def _levers(results: Results) -> Section:
    baseline = "units"
    if baseline not in set(results.scores["family"]) or "topic_cloze" not in set(results.scores["eval"]):
        return "", [], pd.DataFrame()
    found = levers(results.scores, "topic_cloze", baseline).sort_values("difference", ascending=False)
    rows = [
        {
            "family": label(row.family),
            "scoring": METRICS.get(row.metric, row.metric),
            "size": row.size,
            "tokens": row.budget,
            "accuracy": f"{100 * row.value:.1f}",
            "difference (points)": f"{100 * row.difference:+.1f} ± {100 * row.stderr:.1f}",
            "beyond two errors": "yes" if abs(row.difference) > 2 * row.stderr else "",
        }
        for row in found.itertuples(index=False)
    ]
    moved = sum(row["beyond two errors"] == "yes" for row in rows)
    text = [
        f"Topic Cloze against the headline scoring of {label(baseline)}, at the largest size and token count that both "
        f"families have: {moved} of {len(rows)} levers move it by more than two standard errors. The errors treat the "
        f"two accuracies as independent; on shared items they are smaller (python -m analysis paired). With "
        f"{len(rows)} comparisons, about one in twenty passes by luck."
    ]
    return "What moves Topic Cloze", text, pd.DataFrame(rows)


def _noise(results: Results) -> Section:
    spread = noise.seed_spread(results.runs, results.scores)
    rows = [
        {
            "family": label(row.family),
            "size": row.size,
            "tokens": row.budget,
            "measure": "nats per token" if row.measure == "nats_per_token" else label(row.measure),
            "seeds": str(row.seeds),
            "mean": f"{row.mean:.4f}",
            "standard deviation": f"{row.sd:.4f}",
            "range": f"{row.min:.4f} to {row.max:.4f}",
        }
        for row in spread.itertuples(index=False)
    ]
    text = ["Runs that differ by their seed alone. A difference between recipes below this spread is noise."]
    return "Spread over seeds", text, pd.DataFrame(rows)


def _held_out(results: Results) -> Section:
    losses = results.tables.losses
    final = losses[losses["final"]]
    rows = []
    for family, group in final.groupby("family", sort=True):
        own = final[final["name"] == largest(group)["name"]]
        if len(own) < 2:
            continue
        reference = own.loc[own["is_val_store"], "nats_per_token"].iloc[0]
        for row in own.sort_values("is_val_store", ascending=False).itertuples(index=False):
            rows.append(
                {
                    "family": label(family),
                    "run": row.name,
                    "store": row.store + (" (the run's loss)" if row.is_val_store else ""),
                    "nats per token": f"{row.nats_per_token:.4f}",
                    "nats per second": "" if pd.isna(row.nats_per_second) else f"{row.nats_per_second:.3f}",
                    "against the run's loss": "" if row.is_val_store else f"{row.nats_per_token / reference - 1:+.1%}",
                }
            )
    text = ["The run of the most compute of each family on every held-out store, other voices among them."]
    return "Loss on other held-out speech", text, pd.DataFrame(rows)


def _runs(results: Results) -> Section:
    runs = results.runs.sort_values(["family", "params_total", "tokens", "seed"])
    rows = [
        {
            "run": row.name,
            "family": label(row.family),
            "N": f"{row.params_total:,}",
            "D": f"{row.tokens:,}",
            "C": f"{row.flops_6n:.2e}",
            "epochs": f"{row.epochs:.2f}",
            "nats per token": f"{row.nats_per_token:.4f}",
            "nats per second": "" if pd.isna(row.nats_per_second) else f"{row.nats_per_second:.3f}",
            "wall time": duration(row.wall_seconds),
        }
        for row in runs.itertuples(index=False)
    ]
    total = dict.fromkeys(rows[0], "") | {"run": f"{len(rows)} runs", "D": f"{runs['tokens'].sum():,}"} if rows else {}
    if rows:
        rows.append(total | {"C": f"{runs['flops_6n'].sum():.2e}", "wall time": duration(runs["wall_seconds"].sum())})
    text = ["Wall time is each run's own; a part shared with another run of its size is counted where it was trained."]
    return "All runs", text, pd.DataFrame(rows)
