"""The table of figures and tables: name -> what draws it, what it is in the papers, what it shows.

In: nothing. Out: `FIGURES`. A module has `numbers(results)`, `draw(results)` and `caption(results)`; names are by
claim, the papers' numbers stand beside them.
"""

from dataclasses import dataclass
from types import ModuleType

from paper_figures import (
    fig_hindcast,
    fig_interleaved_ablation,
    fig_interleaved_scaling,
    fig_isoflop,
    fig_knowledge,
    fig_loss_envelope,
    fig_performance_compute,
    fig_performance_loss,
    fig_repeats,
    fig_schemes,
    fig_sweep,
    fig_synthetic,
    fig_tokenizers,
    table_benchmarks,
    table_comparison,
    table_constants,
    table_crossmodal,
    table_datasets,
    table_gammas,
    table_interleaving,
    table_models,
    table_speakers,
    table_supervised,
)


@dataclass(frozen=True)
class Entry:
    """A figure or table."""

    module: ModuleType
    paper: str
    """Its number in Cuervo & Marxer 2024, or the other paper that asks it; empty: the suite's own."""
    shows: str
    is_beside: bool = False
    """Whether own numbers stand in it beside published ones; else `--from published` draws another one."""
    heading: str = "Figures"
    """Of the report, that it stands under."""


ZENG, MIXED = "Zeng 2024", "Interleaving speech and text"
FIGURES = {
    "loss_envelope": Entry(fig_loss_envelope, "Figure 1", "loss against compute, its envelope and power law"),
    "performance_compute": Entry(fig_performance_compute, "Figure 2", "accuracy against compute"),
    "synthetic": Entry(fig_synthetic, "Figure 3", "spoken stories against other speech"),
    "performance_loss": Entry(fig_performance_loss, "Figure 4", "accuracy against loss"),
    "tokenizers": Entry(fig_tokenizers, "Figure 5", "unigram pieces and other tokens against units"),
    "models": Entry(table_models, "Table 1", "sizes of the models", True),
    "datasets": Entry(table_datasets, "Table 2", "hours and tokens of the data", True),
    "comparison": Entry(table_comparison, "Table 3", "the best models on the spoken benchmarks", True),
    "gammas": Entry(table_gammas, "Table 4", "exponents of accuracy, and text's over speech's", True),
    "constants": Entry(table_constants, "Table 5", "constants of the loss, allocation of compute", True),
    "interleaved_scaling": Entry(fig_interleaved_scaling, ZENG, "score against interleaved tokens", True),
    "interleaved_ablation": Entry(fig_interleaved_ablation, ZENG, "what interleaving buys, in others' ablations", True),
    "knowledge": Entry(fig_knowledge, ZENG, "what was only written, asked in speech", heading=MIXED),
    "interleaving": Entry(table_interleaving, ZENG, "one change of the interleaved recipe at a time", heading=MIXED),
    "crossmodal": Entry(table_crossmodal, "", "prompts and answers in speech and text", heading=MIXED),
    "speakers": Entry(table_speakers, "", "word errors of text said in units, and read back", heading=MIXED),
    "supervised": Entry(table_supervised, "", "word errors of speech read through its tokens", heading=MIXED),
    "isoflop": Entry(fig_isoflop, "", "best size and tokens of every budget"),
    "repeats": Entry(fig_repeats, "", "what repeated tokens are worth"),
    "hindcast": Entry(fig_hindcast, "", "large budgets predicted from small ones"),
    "sweep": Entry(fig_sweep, "", "one change of the tokenization at a time"),
    "schemes": Entry(fig_schemes, "", "what tokenization schemes keep of speech and cost"),
    "benchmarks": Entry(table_benchmarks, "", "every benchmark of every family's largest run"),
}


def listed() -> str:
    """The table as text, a line per figure."""
    wide = max(map(len, FIGURES))
    return "\n".join(f"{name:<{wide}}  {entry.paper:<9}  {entry.shows}" for name, entry in FIGURES.items())
