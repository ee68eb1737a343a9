"""What each scale mixes of speech and text: corpora, supervised tokenizers, models that speak.

In: nothing. Out: `MIXED`, from which `data/mixed.py` makes stores. Sizes are choices; published ones say where from.
Where answers to WebQuestions are told in writing, its questions are named `webquestions-told`: no benchmark any more.
"""

from dataclasses import replace

from data.corpora import dialogues, knowledge, librispeech, peoples_speech, stories, tinystories, told
from data.evalsets import blimp, facts, minimal_pairs, story_cloze, storycloze, topic_cloze, webquestions
from data.mixed import Mixed
from data.voices import spoken, unspoken
from slm.spec import CorpusSpec, EncoderSpec, Init, ModelConfig, SupervisedSpec, TokenizerSpec, TrainConfig


def _talk(utterances: int) -> dict[str, CorpusSpec]:
    """So many questions and answers of dialogues about the suite's own world."""
    return {
        "dialogues-train": spoken(dialogues, "train", utterances),
        "dialogues-validation": spoken(dialogues, "validation", max(8, utterances // 20)),
    }


def _own(
    heard: int,
    learnt: int,
    texts: int,
    held_out: int,
    items: int | None,
    dialogues_: int,
    supervised: dict,
    speaker: tuple[dict, dict],
    speaker_at: dict[float, dict] | None = None,
    compared: tuple[tuple[float, int], ...] = (),
) -> Mixed:
    """The suite's own world in speech and text: so many stories that are heard, from the first of which tokenizers are
    learnt; texts of facts; held-out stories; items of each benchmark; utterances of dialogues; how text-to-token models
    learn, and where otherwise; rates and codes of the tokenizers that are only compared."""
    told_aloud = {
        "stories-train": spoken(stories, "train", heard),
        "stories-validation": spoken(stories, "validation", held_out),
    }
    recipe = SupervisedSpec(learnt_on=replace(told_aloud["stories-train"], documents=learnt), **supervised)
    encoder = EncoderSpec(kind="whisper_vq", rate_hz=25.0, revision="1", supervised=recipe)
    model, train = speaker
    return Mixed(
        tokenizers={rate: replace(encoder, rate_hz=rate) for rate in (25.0, 12.5)},
        text=TokenizerSpec(
            kind="text",
            vocabulary=513,
            learnt_on=unspoken(replace(told_aloud["stories-train"], documents=min(heard, 2000))),
        ),
        heard=told_aloud,
        recorded={},
        read={
            "knowledge-train": CorpusSpec(name="knowledge", revision=knowledge.REVISION, split="train", documents=texts)
        },
        asked={
            "topic_cloze": spoken(topic_cloze, "test", items),
            "story_cloze": spoken(story_cloze, "test", items),
            "facts": spoken(facts, "test", items),
        },
        pairs={"minimal_pairs": spoken(minimal_pairs, "test", items)},
        questions={},
        dialogues=_talk(dialogues_),
        speaker=(ModelConfig(vocabulary=0, context=256, init_std=0.08, **model), TrainConfig(**train)),
        learns_from="stories-train",
        rates_in_full=(12.5,),
        speaker_at={rate: TrainConfig(**told) for rate, told in (speaker_at or {}).items()},
        compared=tuple(
            replace(encoder, rate_hz=rate, supervised=replace(recipe, codes=codes)) for rate, codes in compared
        ),
    )


_SUPERVISED = {
    "layers": 3,
    "quantised_after": 2,
    "decoder_layers": 0,
    "width": 128,
    "heads": 2,
    "hidden": 256,
    "block_seconds": 1.92,
    "learning_rate": 2e-3,
    "ctc": 1.0,
}
_SPEAKER = {"warmup_steps": 50, "schedule": "wsd", "decay_fraction": 0.3, "final_rate": 0.05}


def _mini() -> Mixed:
    """Spoken TinyStories, recorded LibriSpeech, and the answers to WebQuestions as text alone."""
    read = spoken(tinystories, "train", None)
    recipe = SupervisedSpec(
        learnt_on=replace(read, documents=1000), **_SUPERVISED | {"codes": 256, "updates": 2500, "batch_seconds": 60.0}
    )
    encoder = EncoderSpec(kind="whisper_vq", rate_hz=25.0, revision="1", supervised=recipe)
    libri = {"librispeech-train": "train-clean-100", "librispeech-test": "test-other"}
    return Mixed(
        tokenizers={rate: replace(encoder, rate_hz=rate) for rate in (50.0, 25.0, 12.5, 6.25)},
        text=TokenizerSpec(kind="text", vocabulary=2001, learnt_on=unspoken(read)),
        heard={"tinystories-train": read, "tinystories-validation": spoken(tinystories, "validation", 200)},
        recorded={
            name: CorpusSpec(name="librispeech", revision=librispeech.REVISION, split=split)
            for name, split in libri.items()
        },
        read={"told-train": CorpusSpec(name="told_webquestions", revision=told.REVISION, split="test")},
        asked={"topic_cloze": spoken(storycloze, "storycloze_format/topic_cloze_tinystories.csv", None)},
        pairs={"blimp": spoken(blimp, "all", 2000)},
        questions={"webquestions-told": spoken(webquestions, "test", None)},
        dialogues=_talk(4000),
        speaker=(
            ModelConfig(vocabulary=0, context=512, init_std=0.08, layers=4, width=128, heads=8, hidden=352),
            TrainConfig(**_SPEAKER | {"tokens": 5000 * 4096, "batch_tokens": 4096, "learning_rate": 5e-3}),
        ),
        learns_from="tinystories-train",
        rates_in_full=(25.0,),
    )


def _from_whisper() -> dict[float, EncoderSpec]:
    """Tokenizers from Whisper-large-v3 at the published rates; written, never run: one device takes a batch at once."""
    heard = CorpusSpec(name="peoples_speech", revision=peoples_speech.REVISION, split="clean-train")
    whisper = Init(checkpoint="openai/whisper-large-v3", revision="06f233fe06e710322aca913c1bc4249a0d71fce1")
    shape = {"layers": 32, "quantised_after": 16, "decoder_layers": 32, "width": 1280, "heads": 20, "hidden": 5120}
    return {
        rate: EncoderSpec(
            kind="whisper_vq",
            rate_hz=rate,
            revision="1",
            supervised=SupervisedSpec(
                learnt_on=heard,
                codes=codes,
                **shape,
                block_seconds=4.0,
                updates=20_000,
                batch_seconds=4096 * 15.0,
                learning_rate=1e-5,
                ctc=0.3,
                start=whisper,
            ),
        )
        for rate, codes in PUBLISHED_CODEBOOKS.items()
    }


def _paper() -> Mixed:
    """The tokenizer from Whisper-large-v3 at the published rates, and OPT's text, whose checkpoints `warm` pins."""
    read = spoken(tinystories, "train", None)
    opt = Init(checkpoint="facebook/opt-125m", revision="27dcfa74d334bc871f3234de431e71c6eeba5dd6")
    recorded = {"librispeech-train": "train-clean-360", "librispeech-test": "test-clean"}
    return Mixed(
        tokenizers=_from_whisper(),
        text=TokenizerSpec(kind="pretrained", vocabulary=50_272, checkpoint=opt),
        heard={"tinystories-train": read, "tinystories-validation": spoken(tinystories, "validation", 1000)},
        recorded={
            name: CorpusSpec(name="librispeech", revision=librispeech.REVISION, split=split)
            for name, split in recorded.items()
        },
        read={"told-train": CorpusSpec(name="told_webquestions", revision=told.REVISION, split="test")},
        asked={
            "sstorycloze": spoken(storycloze, "storycloze/cloze_test_test__spring2016 - cloze_test_ALL_test.csv", None)
        },
        pairs={"blimp": spoken(blimp, "all", None)},
        questions={"webquestions-told": spoken(webquestions, "test", None)},
        dialogues=_talk(20_000),
        speaker=(
            ModelConfig(vocabulary=0, context=2048, layers=12, width=768, heads=12, hidden=2048),
            TrainConfig(
                **_SPEAKER | {"tokens": 10_000 * 131_072, "batch_tokens": 131_072, "learning_rate": 5e-4},
                precision="bf16-mixed",
            ),
        ),
        learns_from="tinystories-train",
        rates_in_full=(12.5,),
    )


PUBLISHED_CODEBOOKS = {50.0: 4096, 25.0: 4096, 12.5: 16_384, 6.25: 65_536}
"""Frames per second -> codes: GLM-4-Voice report, Table 1; those of 50, 25 and 6.25 Hz from its bitrates."""
MIXED = {
    "tiny": _own(
        heard=60,
        learnt=16,
        texts=20,
        held_out=4,
        items=12,
        dialogues_=80,
        supervised=_SUPERVISED
        | {"codes": 64, "width": 32, "heads": 2, "hidden": 64, "updates": 20, "batch_seconds": 20.0},
        speaker=(
            {"layers": 1, "width": 32, "heads": 2, "hidden": 64},
            _SPEAKER | {"tokens": 20 * 1024, "batch_tokens": 1024, "learning_rate": 1e-2, "warmup_steps": 2},
        ),
    ),
    "micro": _own(
        heard=3000,
        learnt=1500,
        texts=4000,
        held_out=200,
        items=None,
        dialogues_=1500,
        supervised=_SUPERVISED | {"codes": 256, "updates": 2000, "batch_seconds": 15.0},
        speaker=(
            {"layers": 3, "width": 96, "heads": 6, "hidden": 256},
            _SPEAKER | {"tokens": 2200 * 1024, "batch_tokens": 1024, "learning_rate": 5e-3},
        ),
        speaker_at={25.0: _SPEAKER | {"tokens": 1500 * 2048, "batch_tokens": 2048, "learning_rate": 6e-3}},
        compared=((50.0, 256), (25.0, 64), (25.0, 1024), (12.5, 64), (12.5, 1024), (6.25, 256)),
    ),
    "mini": _mini(),
    "paper": _paper(),
}
"""Scale -> what it mixes of speech and text."""
