"""Question: how much of the words does a supervised tokenizer keep, by its rate and the size of its codebook?

In: `schemes.csv` of the scale, as `python -m data compare` writes it. Out: a table as figure and numbers: a row per
tokenizer that was learnt by reading.
"""

import pandas as pd
from matplotlib.figure import Figure

from paper_figures import ruled
from paper_figures.results import Results

READ = "held_out_wer"
_COLUMNS = ["corpus", "scheme", "tokens_per_second", "vocabulary", "used_vocabulary", "perplexity"]
_COLUMNS += ["bits_per_second_unigram", READ, "held_out_cer", "held_out_words", "phone_information"]


def numbers(results: Results) -> pd.DataFrame:
    """One row per supervised tokenizer and compared corpus, the fastest and the largest codebook first."""
    schemes = results.schemes
    if schemes is None or READ not in schemes or schemes[READ].isna().all():
        raise results.nothing("no supervised tokenizer was compared by `python -m data compare`")
    rows = schemes.loc[schemes[READ].notna(), _COLUMNS]
    order = ["corpus", "tokens_per_second", "vocabulary"]
    return rows.sort_values(order, ascending=[True, False, False]).reset_index(drop=True)


def draw(results: Results) -> Figure:
    """A ruled table, tokenizers down."""
    rows = numbers(results)
    shown = {
        "tokenizer": rows["scheme"],
        "speech": rows["corpus"],
        "tokens\na second": rows["tokens_per_second"].map("{:.1f}".format),
        "codes": rows["vocabulary"].map("{:,.0f}".format),
        "used": (100 * rows["used_vocabulary"]).map("{:.0f} %".format),
        "perplexity": rows["perplexity"].map("{:,.0f}".format),
        "bits\na second": rows["bits_per_second_unigram"].map("{:.0f}".format),
        "word\nerror rate": (100 * rows[READ]).map("{:.1f}".format),
        "character\nerror rate": (100 * rows["held_out_cer"]).map("{:.1f}".format),
        "phone information": (100 * rows["phone_information"]).map("{:.0f} %".format),
    }
    return ruled.figure(ruled.Ruled(cells=pd.DataFrame(shown), names=2))


def caption(results: Results) -> str:
    """What the numbers are."""
    rows = numbers(results)
    words = ", ".join(f"{count:,.0f}" for count in sorted(rows["held_out_words"].unique()))
    return (
        f"Tokenizers learnt by transcribing. Error rates in per cent, on {words} words held out from their learning, "
        "read by greedy CTC above the quantiser without a language model, from all frames and not from merged tokens, "
        "which read worse; one training each. Tokens a second, use, "
        "perplexity, bits and phone information are of the compared speech, equal neighbours merged; phone "
        "information is the share of H(phone) of a 10 ms frame that its token tells, held out."
    )
