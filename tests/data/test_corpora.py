"""Real corpora as their publishers lay them out, made small here."""

import pytest

from data.corpora import librispeech, tinystories


def test_tinystories_are_parted_by_the_marker_and_a_cut_off_tail_is_left_out(tmp_path):
    path = tmp_path / "tinystories" / "TinyStoriesV2-GPT4-train.txt"
    path.parent.mkdir()
    path.write_text(
        "One day,\nTom ran.\n<|endoftext|>\n“Hi”, said Mia’s dog.\n<|endoftext|>\nOnce upon a", encoding="utf-8"
    )
    found = list(tinystories.utterances(tmp_path, "train"))
    assert [story.text for story in found] == ["One day, Tom ran.", '"Hi", said Mia\'s dog.']
    assert len({story.id for story in found}) == 2 and all(story.audio is None for story in found)


def test_a_sample_without_markers_is_cut_at_its_openings(tmp_path):
    path = tmp_path / "tinystories" / "val_sample_first_half.txt"
    path.parent.mkdir()
    path.write_text("the end of one.\n\nOnce upon a time, A.\n\nThen B.\n\nOnce upon a time â€œCâ€.", encoding="utf-8")
    found = [story.text for story in tinystories.utterances(tmp_path, "validation")]
    assert found == ["Once upon a time, A. Then B.", 'Once upon a time "C".']


@pytest.mark.parametrize("content", [None, ""])
def test_a_missing_or_empty_file_lists_the_accepted_names(tmp_path, content):
    (tmp_path / "tinystories").mkdir()
    if content is not None:
        (tmp_path / "tinystories" / "train_sample.txt").write_text(content)
    with pytest.raises(ValueError, match="none of TinyStoriesV2-GPT4-train.txt, TinyStories-train.txt"):
        list(tinystories.utterances(tmp_path, "train"))


def test_stories_do_not_depend_on_where_a_long_file_is_read_in_pieces(tmp_path, monkeypatch):
    path = tmp_path / "tinystories" / "TinyStories-train.txt"
    path.parent.mkdir()
    path.write_text("".join(f"Story number {number}.\n<|endoftext|>\n" for number in range(50)))
    whole = list(tinystories.utterances(tmp_path, "train"))
    assert len(whole) == 50
    for characters in (1, 5, 13, 64):
        monkeypatch.setattr(tinystories, "CHUNK", characters)
        assert list(tinystories.utterances(tmp_path, "train")) == whole


def chapter(root, speaker: str, lines: list[str]):
    folder = root / "LibriSpeech" / "dev-clean" / speaker / "10"
    folder.mkdir(parents=True)
    (folder / f"{speaker}-10.trans.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_librispeech_yields_transcripts_in_order_whether_or_not_there_is_audio(tmp_path):
    folder = chapter(tmp_path, "84", ["84-10-0000 HELLO THERE", "84-10-0001 IT'S ME"])
    chapter(tmp_path, "9", ["9-10-0000 GOOD BYE"])
    found = list(librispeech.utterances(tmp_path, "dev-clean"))
    assert [(u.id, u.text, u.speaker) for u in found][:2] == [
        ("84-10-0000", "HELLO THERE", "84"),
        ("84-10-0001", "IT'S ME", "84"),
    ]
    assert found[0].audio == folder / "84-10-0000.flac" and found[2].id == "9-10-0000"


def test_librispeech_names_a_malformed_line(tmp_path):
    chapter(tmp_path, "84", ["84-10-0000 HELLO", "84-10-0001"])
    with pytest.raises(ValueError, match=r"84-10.trans.txt, line 2"):
        list(librispeech.utterances(tmp_path, "dev-clean"))


def test_librispeech_without_transcripts_says_where_it_looked(tmp_path):
    with pytest.raises(ValueError, match="none of .*LibriSpeech.dev-clean"):
        list(librispeech.utterances(tmp_path, "dev-clean"))
