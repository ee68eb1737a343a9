"""What is written is read, for every format that is written, and for stores by way of each."""

import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from data.convert import FORMATS, convert
from data.formats.document import Stated
from tests.data.formats.documents import CLUSTERS, content, recipe, streams, target

RECIPE = {"corpus": "toy", "split": "train", "rate_hz": 25.0}
KEPT = {
    # name: (one label per frame, fields that come back)
    "gslm": (True, ("seconds", "audio")),
    "km": (True, ("seconds", "audio")),
    "textless-names": (False, ("durations",)),
    "slamkit-features": (False, ("durations", "audio", "metadata")),
    "slamkit-tokens": (False, ("audio", "metadata")),
    "slm_scaling": (False, ("seconds", "speaker", "metadata")),
    "interleaved_lm": (False, ("seconds", "speaker", "metadata", "text_column")),
}
FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def stated(name: str, path: Path) -> Stated:
    return Stated(units=CLUSTERS, manifest=path.with_suffix(".tsv") if name == "gslm" else None)


@pytest.mark.parametrize("name", KEPT)
def test_what_is_written_is_read(name):
    frames, holds = KEPT[name]

    @FEW
    @given(written=streams(frames=frames, holds=holds))
    def check(written):
        with tempfile.TemporaryDirectory() as folder:
            path = target(Path(folder), name)
            FORMATS[name].write(path, written)
            read = FORMATS[name].read(path, stated(name, path))
            assert (read.clusters, read.collapsed) == (CLUSTERS, not frames)
            assert content(read) == content(written)

    check()


@FEW
@given(written=streams(frames=False, holds=("durations", "audio", "text")))
def test_words_survive_in_sidecars(written):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "u.jsonl"
        FORMATS["slamkit-features"].write(path, written)
        read = FORMATS["slamkit-features"].read(path, Stated(units=CLUSTERS, sidecars=Path(folder) / "u"))
        assert content(read) == content(written)


@pytest.mark.parametrize("frames", [True, False])
def test_without_names_the_lines_are_numbered(frames):
    @FEW
    @given(written=streams(frames=frames, holds=()))
    def check(written):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "u.units"
            FORMATS["textless"].write(path, written)
            read = FORMATS["textless"].read(path, Stated(units=CLUSTERS, collapsed=not frames))
            assert read.collapsed != frames
            numbers = count()
            assert content(read) == [row | {"id": f"{next(numbers):07d}"} for row in content(written)]

    check()


@pytest.mark.parametrize("name", KEPT)
def test_a_store_survives_the_way_through_every_format(name):
    """As far as the format holds what is in a store; frames are the durations of the runs again."""
    keeps = FORMATS[name].holds

    @settings(FEW, max_examples=8)
    @given(written=streams(frames=False, holds=("durations", "seconds", "speaker")))
    def check(written):
        with tempfile.TemporaryDirectory() as folder:
            first, second, between = Path(folder) / "first", Path(folder) / "second", target(Path(folder), name)
            FORMATS["store"].write(first, written, spec=recipe())
            convert(first, "store", between, name)
            manifest = between.with_suffix(".tsv") if name == "gslm" else None
            convert(between, name, second, "store", CLUSTERS, manifest=manifest, **RECIPE)
            assert content(FORMATS["store"].read(first, Stated())) == content(written)
            for row, other in zip(content(written), content(FORMATS["store"].read(second, Stated())), strict=True):
                assert (row["id"], row["units"]) == (other["id"], other["units"])
                assert other["durations"] == (row["durations"] if "durations" in keeps else None)
                assert other["speaker"] == (row["speaker"] if "speaker" in keeps else None)
                assert other["seconds"] == row["seconds"] or "seconds" not in keeps

    check()
