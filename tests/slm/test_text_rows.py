"""Starts that keep text: whose rows stay, how new ones are drawn, what a run of ours lends, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from slm.head import SharedHead
from slm.loss import next_token_nats
from slm.machine import CPU
from slm.model import build, skeleton
from slm.pretrained import config_of, pinned, spec_of
from slm.runlog import RunLog
from slm.spec import Init, RunSpec, TokenizerSpec
from slm.train import train, trained_model

torch.set_num_threads(1)
CONTEXT, WIDTH = 32, 16
ROWS, TEXT_IDS, SPEECH_IDS, END = 40, 30, 1000, 5  # the embedding has more rows than the tokenizer has ids
SHAPE = {"vocab_size": ROWS, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"max_position_embeddings": CONTEXT}
MODELS = {
    "gpt2": GPT2Config(
        vocab_size=ROWS, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=CONTEXT, n_inner=24, eos_token_id=2
    ),
    "llama": LlamaConfig(**SHAPE, intermediate_size=24, tie_word_embeddings=False),
    "grouped": LlamaConfig(**SHAPE, intermediate_size=24, num_key_value_heads=2, tie_word_embeddings=True),
    "neox": GPTNeoXConfig(**SHAPE, intermediate_size=24),
    "opt": OPTConfig(**SHAPE, ffn_dim=24, word_embed_proj_dim=WIDTH, pad_token_id=1, dropout=0.1),
}


def write_words(folder: Path, **special: str) -> None:
    """A tokenizer of whole words."""
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(TEXT_IDS)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """Small text models with their tokenizers, whose fifth id ends a text."""
    folder = tmp_path_factory.mktemp("texts")
    for name, config in MODELS.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():
            weight.data.normal_(0, 0.1)
        model.save_pretrained(folder / name)
        write_words(folder / name, bos_token="w2", eos_token=f"w{END}")
    return folder


def ends(model: PreTrainedModel) -> list[torch.Tensor]:
    return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]


def body(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: w for name, w in model.named_parameters() if not any(w is end for end in ends(model))}


def joint_of(text: TokenizerSpec, speech: int = SPEECH_IDS) -> TokenizerSpec:
    units = TokenizerSpec(kind="units", vocabulary=speech + 1)
    return TokenizerSpec(kind="joint", vocabulary=text.vocabulary + speech + 2, text=text, speech=units)


def under(run: RunSpec, tokenizer: TokenizerSpec, **changes) -> RunSpec:
    """The run with its stores under another tokenizer, and a model of as many ids."""
    store = replace(run.mix[0].store, tokenizer=tokenizer)
    model = replace(run.model, **{"vocabulary": tokenizer.vocabulary} | changes)
    return replace(run, name="speaking", model=model, mix=(replace(run.mix[0], store=store),))


@pytest.fixture(scope="module")
def keeping(run_of):
    """Of the folder of a text model: a joint run that starts from it and keeps its rows of text."""

    def make(folder: Path, seed: int = 0, **changes) -> RunSpec:
        init = pinned(folder.name, None, folder.parent)
        run = replace(run_of(seed=seed), model=config_of(init, folder.parent))
        joint = joint_of(spec_of(init, folder.parent))
        return under(replace(run, init=replace(init, keeps_text=True)), joint, **changes)

    return make


def is_extended(rows: torch.Tensor, kept: torch.Tensor, end: int, text: int, own: torch.Tensor) -> None:
    """The rows of text and end are the text model's; the others have the moments of those, feature by feature."""
    assert torch.equal(rows[:text], kept[:text]) and torch.equal(rows[-1], kept[end])
    new, copied = rows[text:-1], torch.cat([kept[:text], kept[end : end + 1]])
    assert ((new.mean(0) - copied.mean(0)).abs() < 0.15 * copied.std(0)).all()
    torch.testing.assert_close(new.std(0), copied.std(0), rtol=0.15, atol=0)
    assert not torch.equal(new, own[text:-1])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_rows_of_text_are_kept_and_new_ones_drawn_as_they_are_spread(texts, keeping, name, tied):
    given = AutoModelForCausalLM.from_pretrained(texts / name, dtype=torch.float32).eval()
    run = keeping(texts / name, tied=tied)
    if tied and ends(given)[0] is not ends(given)[1]:
        with pytest.raises(ValueError, match=f"{name} has a head apart from its embedding, .*: set tied=False"):
            build(run, texts)
        return
    model, other = build(run, texts), build(keeping(texts / name, seed=1, tied=tied), texts)
    for rows, kept, others in zip(ends(model), ends(given), ends(other), strict=True):
        is_extended(rows.detach(), kept.detach(), END, TEXT_IDS, others.detach())
    assert (ends(model)[0] is ends(model)[1]) == tied
    theirs = body(given)
    assert all(torch.equal(weight, theirs[key]) for key, weight in body(model).items())
    ids = torch.arange(CONTEXT)[None] % TEXT_IDS  # (B, T)
    with torch.inference_mode():
        wanted, found = given(input_ids=ids).logits, model(input_ids=ids).logits
    torch.testing.assert_close(found[..., :TEXT_IDS], wanted[..., :TEXT_IDS])
    torch.testing.assert_close(found[..., -1], wanted[..., END])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), build(run, texts).parameters(), strict=True))


def test_a_text_model_reads_on_under_its_own_tokenizer(texts, keeping):
    run = keeping(texts / "opt")
    text = run.mix[0].store.tokenizer.text
    rows = ends(build(under(run, text), texts))[0]
    assert len(rows) == TEXT_IDS + 1 and torch.equal(rows[-1], rows[END])


@pytest.fixture(scope="module")
def read(run_of, toy_stores, tmp_path_factory) -> RunLog:
    """A finished run of ours that reads 16 ids and an end; its folder lies below the root of runs."""
    root = tmp_path_factory.mktemp("runs")
    return train(run_of(), [toy_stores["train"]], {"held-out": toy_stores["validation"]}, root, CPU, {})


def root_of(log: RunLog) -> Path:
    return log.folder.parents[log.spec.name.count("/")]


def from_run(log: RunLog, keeps_text: bool = True, **changes) -> RunSpec:
    """A joint run from a run of ours."""
    run, init = log.spec, Init(checkpoint=log.spec.name, revision=log.spec.fingerprint, keeps_text=keeps_text)
    return under(replace(run, init=init), joint_of(run.mix[0].store.tokenizer), **changes)


def test_a_run_of_ours_lends_its_body_and_its_text(read):
    given = trained_model(read)
    for keeps_text in (True, False):
        run = from_run(read, keeps_text)
        model, other = (build(replace(run, train=replace(run.train, seed=s)), None, root_of(read)) for s in (0, 1))
        assert all(torch.equal(weight, body(given)[key]) for key, weight in body(model).items())
        rows, kept, others = (ends(each)[0].detach() for each in (model, given, other))
        if keeps_text:
            is_extended(rows, kept, 16, 16, others)
        else:
            assert not torch.equal(rows[:16], kept[:16]) and rows.std().item() == pytest.approx(0.02, rel=0.1)
        assert model.config.eos_token_id == run.model.vocabulary - 1 and model.training


def test_a_run_is_tuned_from_all_weights_of_another_with_its_tokenizer(read, run_of, toy_stores, tmp_path):
    shared = replace(run_of(), name="shared", model=replace(run_of().model, tied=False, codes=9, own_codes=3))
    for log in (read, train(shared, [toy_stores["train"]], {"held-out": toy_stores["validation"]}, tmp_path, CPU, {})):
        given, init = trained_model(log), Init(checkpoint=log.spec.name, revision=log.spec.fingerprint, keeps_text=True)
        tuned = replace(log.spec, name="tuned", init=init, train=replace(log.spec.train, learning_rate=1e-4))
        model = build(tuned, None, root_of(log))
        assert all(torch.equal(weight, given.state_dict()[key]) for key, weight in model.state_dict().items())
        saved = {"model_config": json.loads(model.config.to_json_string(use_diff=False))}
        again = skeleton(tuned, saved)
        again.load_state_dict(model.state_dict())
        ids = torch.arange(24).view(2, 12) % 16
        nats = [next_token_nats(each.eval(), ids[:, :-1], ids[:, 1:], "mean").item() for each in (given, model, again)]
        assert nats[0] == nats[1] == nats[2]
        other = replace(tuned, model=replace(tuned.model, vocabulary=18))
        with pytest.raises(ValueError, match="'vocabulary': 17, .*'vocabulary': 18, .*give its ModelConfig the former"):
            build(other, None, root_of(log))


def test_a_new_shared_codebook_on_a_text_body(texts, keeping):
    run = keeping(texts / "gpt2", tied=False)
    shared = replace(run, model=replace(run.model, codes=1010, own_codes=1003))
    with pytest.raises(ValueError, match="a shared codebook has no rows of single ids to keep"):
        build(shared, texts)
    model = build(replace(shared, init=replace(shared.init, keeps_text=False)), texts)
    assert isinstance(model.get_output_embeddings(), SharedHead)
    assert ends(model)[1].shape == (1010, WIDTH) and ends(model)[1].std().item() == pytest.approx(0.02, rel=0.1)
    ids = torch.arange(20).view(1, -1)
    next_token_nats(model, ids[:, :-1], ids[:, 1:], "mean").backward()
    assert all(weight.grad is not None for weight in model.parameters())


def refused(match: str, run: RunSpec, models: Path | None, root: Path | None) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        build(run, models, root)
    assert "\n" not in str(caught.value)


def test_text_under_another_tokenizer_is_not_kept(texts, keeping, read):
    run, root = from_run(read), root_of(read)
    joint = run.mix[0].store.tokenizer
    other = replace(joint, text=replace(joint.text, seed=1))
    refused(
        "has the units tokenizer .* of 17 ids, the recipe the units tokenizer .* for text",
        under(run, other),
        None,
        root,
    )
    refused("for text: start from a run on the same one", under(run, replace(joint.text, seed=1)), None, root)
    two = replace(run, mix=(*run.mix, replace(run.mix[0], store=replace(run.mix[0].store, tokenizer=other))))
    refused("mixes stores of 2 tokenizers", two, None, root)
    hub = keeping(texts / "llama", tied=False)
    refused("llama keeps its text only under its own tokenizer", under(hub, joint), texts, None)
    text = hub.mix[0].store.tokenizer.text
    for changes in ({"checkpoint": "opt"}, {"revision": "0" * 64}):
        changed = joint_of(replace(text, checkpoint=replace(text.checkpoint, **changes)))
        refused("tokenizer, of the same revision", under(hub, changed), texts, None)
    fewer = joint_of(replace(text, vocabulary=30))
    refused("makes a vocabulary of 31, the recipe says 30", under(hub, fewer), texts, None)


def test_a_text_model_without_an_end_of_a_text_is_refused(texts, keeping, tmp_path):
    run = keeping(texts / "opt")
    shutil.copytree(texts / "opt", tmp_path / "opt")
    for file in ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
        (tmp_path / "opt" / file).unlink(missing_ok=True)
    write_words(tmp_path / "opt")
    refused("no token that begins or ends a text", run, tmp_path, None)


def test_a_text_model_with_fewer_rows_than_its_tokenizer_has_ids_is_refused(keeping, tmp_path):
    config = LlamaConfig(**SHAPE | {"vocab_size": 20}, intermediate_size=24, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "llama")
    write_words(tmp_path / "llama", eos_token="w5")
    refused("llama has 20 rows for 30 ids: choose another", keeping(tmp_path / "llama"), tmp_path, None)


def test_a_text_model_with_a_bias_in_its_head_is_refused(keeping, tmp_path):
    AutoModelForCausalLM.from_config(PhiConfig(**SHAPE, intermediate_size=24)).save_pretrained(tmp_path / "phi")
    write_words(tmp_path / "phi", eos_token="w5")
    refused("its head has a bias", keeping(tmp_path / "phi"), tmp_path, None)


def test_only_a_finished_run_of_the_recipes_fingerprint_is_started_from(read, tmp_path):
    run, root = from_run(read), root_of(read)
    refused("holds no finished run of ours to start speaking from: train it to its end", run, None, tmp_path)
    shutil.copytree(root, tmp_path / "copy")
    copy = RunLog(tmp_path / "copy" / read.spec.name)
    (copy.folder / "done.json").unlink()
    refused("holds no finished run of ours", run, None, tmp_path / "copy")
    (copy.folder / "done.json").write_text("{}")
    build(run, None, tmp_path / "copy")
    other = replace(run, init=replace(run.init, revision="0" * 12))
    refused(f"holds run {read.spec.fingerprint}, the recipe of speaking starts from {'0' * 12}", other, None, root)
    whole = copy.checkpoint.read_bytes()
    copy.checkpoint.write_bytes(whole.replace(read_some_weight(copy), b"\0" * 64, 1))
    refused("torn or altered", run, None, tmp_path / "copy")
    for changes, match in (
        ({"layers": 3}, "'layers': 2, .*'layers': 3"),
        ({"context": 64}, "has 32 positions, the recipe a context of 64"),
        ({"body_params": 7}, "counts 7: set body_params="),
        ({"tied": False}, None),
    ):
        changed = replace(run, model=replace(run.model, **changes))
        refused(match, changed, None, root) if match else build(changed, None, root)


def read_some_weight(log: RunLog) -> bytes:
    return trained_model(log).model.layers[0].mlp.up_proj.weight.detach().numpy().tobytes()[:64]
