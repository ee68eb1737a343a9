"""The columns of `schemes.csv`: what each number is, its unit and its source.

In: nothing. Out: one dictionary, written beside the table; the headings under which the terminal shows it.
"""

LABELS = {
    "corpus": "speech that the schemes of one comparison share: the part of the store's name before the scheme",
    "scheme": "tokenization scheme: the last part of the store's name",
    "kind": "units, unigram, bpe or phones",
}
SPEECH = {
    "documents": "documents that all compared schemes of the corpus hold; everything is measured on these",
    "seconds": "speech in these documents, as far as the tokens of every compared scheme reach",
}
COST = {
    "tokens_per_second": "tokens per second of speech, without ends of documents",
    "vocabulary": "V: token ids, without the end of a document",
    "used_vocabulary": "share of the V ids that occur",
    "perplexity": "exp of the plug-in entropy of single tokens in nats: as many ids, equally used, are as varied",
    "bits_per_second_uniform": "tokens_per_second * log2(V): what fixed-length codes would take; durations are not "
    "part of the tokens and cost nothing",
    "bits_per_second_unigram": "tokens_per_second * entropy of single tokens in bits, plug-in with Miller's (1955) "
    "correction (ids seen - 1) / 2N nats; durations are not part of the tokens and cost nothing",
    "units_per_token": "collapsed encoder units under a token: the compression of a scheme over units",
    "frames_per_token": "frames of the scheme's own encoder per token",
    "ms_per_token": "mean duration of a token, milliseconds",
    "tokens_per_word": "fertility: tokens per white-space word of the transcript, tokens of pauses included",
}
PHONES = {
    "phone_information": "held out, the headline: (H(phone) - cross-entropy of p(phone | token)) / H(phone), p learnt "
    "on one half of the documents and measured on the other, both ways; smoothed towards the phones' frequencies, by a "
    "strength chosen inside the learning half; 0: tells nothing, 1: tells all; a token does not tell where inside it a "
    "frame lies, so a piece over several phones loses by it even where its units come back without loss",
    "pnmi": "plug-in I(phone; token) / H(phone) (Hsu et al. 2021, HuBERT); rises with V on little speech",
    "phone_purity": "share of frames whose phone is their token's most frequent one (Hsu et al. 2021); rises with V",
    "cluster_purity": "share of frames whose token is their phone's most frequent one (Hsu et al. 2021); falls with V",
    "phone_entropy": "H(phone) of a frame, plug-in, bits",
    "phone_frames": "10 ms frames that the four rows above rest on: all that have a phone and a token in every scheme; "
    "pauses count as one phone, stress marks are dropped",
}
ABX = {
    "abx_within": "error of ABX on triphones that differ in the middle phone, A, B and X of one speaker: dynamic time "
    "warping over 10 ms frames, cost 0 for equal and 1 for other tokens, Sakoe & Chiba's (1978) symmetric form over "
    "the frames of both; ties one half; mean over contexts; 0.5 is chance",
    "abx_within_triples": "distinct triples, drawn with a fixed seed, the same ones for every scheme; of triphones "
    "without pauses whose middle phone differs from both neighbours",
    "abx_across": "as abx_within, with X of another speaker than A and B",
    "abx_across_triples": "as abx_within_triples",
}
WORDS = {
    "word_precision": "share of token boundaries that match a word boundary, one to one, within word_tolerance",
    "word_recall": "share of word boundaries that match a token boundary, one to one, within word_tolerance",
    "word_f1": "harmonic mean of word_precision and word_recall",
    "word_r_value": "R-value (Räsänen, Laine & Altosaar 2009), 1 at best; punishes over-segmentation, may be negative",
    "word_boundaries": "word boundaries: starts of the words that have a time and, where phones are known, of pauses; "
    "starts and ends of documents do not count",
    "word_tolerance": "seconds: 0.02, or half of the longest frame of the compared schemes if that is more",
}
SPEAKER = {
    "speaker_accuracy": "share of chunks of about 5 s whose speaker a logistic regression tells from the frequencies "
    "of their tokens; five folds over documents, the same ones for every scheme",
    "speaker_chance": "share of these chunks that are of the most frequent speaker",
    "speaker_chunks": "chunks of speech; documents are drawn by a hash of their ids where there are over 3,000 chunks",
    "speakers": "speakers of these chunks: those with at least five documents, 24 of them by a hash if there are more",
}
READING = {
    "held_out_wer": "of a supervised tokenizer, word error rate of the speech held out from its learning, which is not "
    "the compared one: greedy CTC on the layers above its quantiser, without a language model, from the "
    "codes of all frames: stores merge equal neighbours, which reads worse; errors of all documents over words of all",
    "held_out_cer": "as held_out_wer, of characters, spaces included",
    "held_out_words": "words that held_out_wer rests on",
}
GROUPS = {
    "speech": SPEECH,
    "cost": COST,
    "phones": PHONES,
    "ABX": ABX,
    "word boundaries": WORDS,
    "speaker": SPEAKER,
    "read as text": READING,
}
COLUMNS = (
    LABELS
    | {column: meaning for group in GROUPS.values() for column, meaning in group.items()}
    | {"notes": "why numbers are missing"}
)
