"""Identity: what changes a fingerprint, what does not, and what may not be part of a recipe."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm.spec import ModelConfig, RunSpec, TrainConfig, differences, fingerprint, from_json, to_json


def test_json_round_trip_keeps_recipe_and_fingerprint(run_of):
    run = run_of()
    again = from_json(RunSpec, to_json(run))
    assert again == run and again.fingerprint == run.fingerprint


def test_labels_are_not_identity_but_every_training_field_is(run_of):
    run = run_of()
    assert replace(run, name="other", family="f", size="s", budget="b").fingerprint == run.fingerprint
    changed = {"tokens": 2048, "batch_tokens": 128, "schedule": "cosine", "precision": "bf16-mixed", "seed": 7}
    for field in fields(TrainConfig):
        old = getattr(run.train, field.name)
        new = changed.get(field.name, old * 2 if isinstance(old, float) else old + 1 if isinstance(old, int) else None)
        other = replace(run, train=replace(run.train, **{field.name: new}))
        assert other.fingerprint != run.fingerprint, field.name


def test_fingerprint_is_pinned():
    """A fingerprint names folders of past experiments: it must not move with Python, field order or formatting."""
    assert fingerprint({"b": [1, 2.5, None, True], "a": "é"}) == "0b8cc543e984"
    assert fingerprint({"a": "é", "b": [1, 2.5, None, True]}) == "0b8cc543e984"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {1, 2}, b"x", 1j, object()])
def test_unhashable_values_are_refused(value):
    with pytest.raises(TypeError):
        fingerprint({"x": value})


def test_field_types_are_enforced():
    shape = {"layers": 2, "width": 16, "heads": 2, "hidden": 32, "vocabulary": 17, "context": 32}
    for name, wrong in (("layers", 2.0), ("layers", True), ("width", "16"), ("rope_theta", 10000)):
        with pytest.raises(TypeError, match=name):
            ModelConfig(**shape | {name: wrong})


def test_trunk_is_shared_by_token_counts_only(run_of):
    assert run_of(1024).trunk == run_of(2048).trunk
    assert run_of(1024).trunk != run_of(1024, seed=1).trunk


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"tokens": 1000}, "whole updates"), ({"warmup_steps": 20}, "do not fit"), ({"batch_tokens": 16}, "windows")],
)
def test_impossible_budgets_say_why(run_of, changes, message):
    with pytest.raises(ValueError, match=message):
        run_of(**changes)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_differences_of_equal_values_is_empty_and_of_changed_ones_is_not(value):
    assert differences({"x": value}, {"x": value}) == []
    assert differences({"x": value}, {"x": [value]}) != []


def test_differences_names_the_path(run_of):
    lines = differences(run_of().recipe, run_of(seed=3).recipe)
    assert lines == ["train.seed: 0 -> 3"]
