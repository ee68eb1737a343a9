"""Every corpus in its publisher's layout: what is yielded, what is held out, what is refused."""

import os
import sys
from pathlib import Path

import pytest

from data.audio import read_audio
from data.corpora import hubert_labels, librilight, librispeech, ljspeech
from data.corpora.files import is_held_out


def test_the_same_files_give_the_same_utterances_with_ids_of_their_own(laid_out, any_layout):
    root, read = laid_out(any_layout)
    found = read()
    assert found and found == read()
    assert len({utterance.id for utterance in found}) == len(found)
    for utterance in found:
        assert utterance.audio is None or utterance.audio.is_relative_to(root)
        assert all(utterance.text[first : first + length].strip() for _, first, length in utterance.words)


def test_the_corpora_may_be_named_from_where_one_is(laid_out, any_layout, tmp_path, monkeypatch):
    _, read = laid_out(any_layout)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    relative = read(Path("..", "..", tmp_path.name))
    assert [(u.id, u.text, u.start) for u in relative] == [(u.id, u.text, u.start) for u in read()]
    assert all(u.audio is None or u.audio.is_absolute() == (u.id == "d:2") for u in relative)


def test_a_corpus_that_is_not_there_and_a_split_that_it_lacks_are_said_in_one_line(laid_out, any_layout, tmp_path):
    _, read = laid_out(any_layout)
    (tmp_path / "elsewhere").mkdir()
    for root, split, reason in ((None, "train", "--corpora|no split"), (tmp_path, "no-such", "split|no-such")):
        with pytest.raises(ValueError, match=reason) as caught:
            read(root, split)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="elsewhere"):
        read(tmp_path / "elsewhere")


def test_librilight_is_cut_in_pauses_and_never_longer_than_thirty_seconds(laid_out):
    _, read = laid_out("librilight")
    found = read()
    times = [(utterance.start, round(utterance.start + utterance.seconds, 6)) for utterance in found]
    # The next segment would end after 30.5 s; a pause of 9 s; the next would end after 80 s; 79 s are 3 parts.
    assert times[:3] == [(0.5, 20.0), (20.5, 31.0), (40.0, 41.0)]
    assert len(times) == 6 and times[3][0] == 41.5 and times[5][1] == 120.5
    assert all(0 < utterance.seconds <= 30 for utterance in found)
    assert all(later[0] >= earlier[1] - 1e-5 for earlier, later in zip(times, times[1:], strict=False))
    assert found[0].speaker == "100" and found[0].text is None


def test_names_of_librilight_in_its_paper_are_sums_of_its_folders(laid_out, tmp_path):
    root, read = laid_out("librilight")
    with pytest.raises(ValueError, match="medium"):
        read(split="unlab-6k-train")
    (tmp_path / "librilight" / "small").rename(tmp_path / "librilight" / "medium")
    assert [u.id.split("/")[0] for u in librilight.utterances(root, "medium-train")] == ["medium"] * 6


def test_a_recording_is_held_out_by_its_name_and_one_in_a_hundred_is(tmp_path):
    share = sum(is_held_out(f"recording {number}") for number in range(20000)) / 20000
    assert share == pytest.approx(0.01, abs=0.003)
    held_out = next(name for name in map(str, range(10000)) if is_held_out(f"small/1/2/{name}"))
    for name in (held_out, "other"):
        path = tmp_path / "librilight" / "small" / "1" / "2" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"voice_activity": [[0, 1]]}')
    assert [u.id for u in librilight.utterances(tmp_path, "small-validation")] == [f"small/1/2/{held_out}/0000"]
    assert [u.id for u in librilight.utterances(tmp_path, "small-train")] == ["small/1/2/other/0000"]


def test_spoken_wikipedia_gives_stretches_of_aligned_words_with_their_times(laid_out):
    _, read = laid_out("swc")
    found = {utterance.id: utterance for utterance in read()}
    title, rest = found["Rome/0000"], found["Rome/0001"]
    assert (title.text, title.start, title.seconds) == ("Rome It is", 0.5, 0.75)
    assert title.words == ((0.0, 0, 4), (0.5, 5, 2), (0.6, 8, 2)) and title.speaker == "Ann O."
    assert (rest.text, rest.start, rest.seconds) == ("in 1999. So", 2.0, 1.2)
    assert rest.words == ((0.0, 0, 2), (0.1, 3, 4), (1.0, 9, 2))
    assert len(read_audio(rest.audio, rest.start, rest.seconds)) == 19200


def test_an_article_in_several_recordings_counts_each_from_its_offset(laid_out, tmp_path):
    """Rome's second stretch passes from one recording of Mars to the next, and so is left out there."""
    _, read = laid_out("swc")
    assert [u.id for u in read() if u.id.startswith("Mars")] == ["Mars/0000"]
    info = tmp_path / "swc" / "english" / "Mars" / "info.json"
    info.write_text('{"audio_files": [{"offset": 0}, {"offset": 1.75}]}')
    second = [u for u in read() if u.id.startswith("Mars")][1]
    assert second.audio.name == "audio2.ogg" and second.start == 0.25 and second.words[0][0] == 0


def test_xml_with_a_document_type_is_refused_before_any_entity_is_read(laid_out, tmp_path):
    _, read = laid_out("swc")
    path = tmp_path / "swc" / "english" / "Rome" / "aligned.swc"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    bomb = '<!DOCTYPE a [<!ENTITY e "ha"><!ENTITY f "&e;&e;&e;">]><article><d>&f;</d></article>'
    for text in (bomb, f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret}">]><article><d><s><t>&e;</t></s></d></article>'):
        for encoding in ("utf-8", "utf-16"):
            path.write_bytes(text.encode(encoding))
            with pytest.raises(ValueError, match="document type"):
                read()


def test_tedlium_leaves_out_what_is_not_scored_and_reads_through_links_of_its_own(laid_out):
    _, read = laid_out("tedlium")
    first, second = read()
    assert (first.id, first.text, first.start, first.seconds) == ("Ann_2010-00001", "it 's me", 0.1, 0.2)
    assert (second.id, second.text, second.speaker) == ("Ann_2010-00004", "and {NOISE} so", "Ann_2010")
    assert len(read_audio(first.audio, first.start, first.seconds)) == 3200


@pytest.mark.parametrize("form", ["parquet", "tar"])
def test_peoples_speech_is_read_where_it_lies(laid_out, form):
    _, read = laid_out(f"peoples_speech/{form}")
    found = read()
    assert [utterance.text for utterance in found] == (
        ["one", "two", "three"] * 2 if form == "parquet" else ["one", "two"]
    )
    for utterance in found:
        waveform = read_audio(utterance.audio, utterance.start, utterance.seconds, utterance.member)
        assert len(waveform) == round(utterance.seconds * 16000)


def test_a_segment_of_voxpopuli_has_one_name_whether_it_is_cut_here_or_was_before(laid_out, tmp_path):
    _, read = laid_out("voxpopuli/raw")
    found = read()
    assert [(u.id, u.start, u.seconds) for u in found] == [
        ("20090112-0900-PLENARY_en_0", 0.1, 0.2),
        ("20090112-0900-PLENARY_en_1", 0.3, 0.2),
    ]
    _, read = laid_out("voxpopuli/cut")
    (tmp_path / "voxpopuli" / "unlabelled_data" / "unlabelled_v2.tsv.gz").unlink()
    assert [(u.id, u.seconds) for u in read()] == [("20090112-PLENARY_en_3", None)]


def test_transcribed_voxpopuli_prefers_normalised_text_and_leaves_out_years_that_are_not_there(laid_out):
    _, read = laid_out("voxpopuli/transcribed")
    assert [(u.id, u.text, u.speaker) for u in read()] == [("2010a", "yes two", "7"), ("2010b", "No.", "8")]


def test_ljspeech_is_not_quoted(laid_out):
    _, read = laid_out("ljspeech")
    assert [u.text for u in read()] == ['in nineteen ninety-nine, "so', "a b"]
    assert len(read_audio(read()[0].audio)) == 8000


def test_tinystories_are_the_same_in_text_and_in_parquet(laid_out, tmp_path):
    _, read = laid_out("tinystories")
    text = read()
    assert [story.text for story in text] == ["One day, Tom ran.", '"Hi", said Mia\'s dog.']
    (tmp_path / "tinystories" / "TinyStoriesV2-GPT4-train.txt").unlink()
    _, read = laid_out("tinystories/parquet")
    assert read() == text


def test_labels_come_with_words_in_the_transcript_and_plain_phones(laid_out):
    _, read = laid_out("hubert_labels")
    for utterance in read():
        assert utterance.labels == (17, 17, 4) * 8 and utterance.seconds == 0.5 and utterance.audio is None
        assert utterance.words == ((0.1, 0, 2), (0.32, 3, 3)) and utterance.speaker == "103"
        assert utterance.phones == ((0.0, ""), (0.1, "HH"), (0.2, "AY"), (0.28, ""), (0.32, "SPN"))


@pytest.mark.parametrize("layout", ["peoples_speech/parquet", "tinystories/parquet"])
def test_parquet_without_pyarrow_says_what_to_install(laid_out, layout, monkeypatch):
    _, read = laid_out(layout)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'slm\[parquet\]'"):
        read()


def test_a_folder_is_read_in_order_at_any_depth(laid_out):
    _, read = laid_out("folder/files")
    assert [utterance.id for utterance in read()] == ["a.flac", "b/1.WAV", "b/2.wav"]


def test_a_manifest_of_json_lines_gives_segments_words_and_text_to_be_spoken(laid_out):
    _, read = laid_out("folder/jsonl")
    cut, whole, spoken = read()
    assert (cut.start, cut.seconds, cut.speaker, cut.words) == (0.1, 0.3, "ann", ((0.0, 0, 3), (0.1, 4, 3)))
    assert (whole.start, whole.seconds, whole.text) == (0.0, None, None)
    assert (spoken.audio, spoken.text) == (None, "to be spoken")


def test_two_forms_of_one_split_are_ambiguous(laid_out, tmp_path):
    _, read = laid_out("folder/tsv")
    (tmp_path / "folder" / "mine").mkdir()
    with pytest.raises(ValueError, match="exactly one of"):
        read()


@pytest.mark.parametrize(
    ("layout", "file", "old", "new"),
    [
        ("folder/tsv", "folder/mine.tsv", "with blank/a.flac", "../a.flac"),
        ("folder/tsv", "folder/mine.tsv", "with blank/a.flac", "/etc/hostname"),
        ("folder/tsv", "folder/mine.tsv", "audio\n", "../..\n"),
        ("folder/jsonl", "folder/mine.jsonl", '"a.flac"', '"b/../../../a.flac"'),
        ("ljspeech", "ljspeech/LJSpeech-1.1/metadata.csv", "LJ001-0002", "../../../a"),
        ("voxpopuli/transcribed", "voxpopuli/transcribed_data/en/asr_dev.tsv", "2010b", "2010/../../../../b"),
        (
            "librispeech",
            "librispeech/LibriSpeech/dev-clean/84/10/84-10.trans.txt",
            "84-10-0001",
            "84-10-/../../../../../b",
        ),
    ],
)
def test_a_manifest_cannot_lead_out_of_its_folder(laid_out, tmp_path, layout, file, old, new):
    _, read = laid_out(layout)
    path = tmp_path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match="line [123]") as caught:
        read()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("librispeech", "librispeech/LibriSpeech/dev-clean/84/10/84-10-0000.flac"),
        ("librispeech", "librispeech/LibriSpeech/dev-clean/9"),
        ("librilight", "librilight/small/100/a_book_64kb/ch_1.json"),
        ("swc", "swc/english/Rome/audio.ogg"),
        ("tedlium", "tedlium/TEDLIUM_release-3/data/sph"),
        ("peoples_speech/tar", "peoples_speech/train/clean/clean_000000.tar"),
        ("peoples_speech/parquet", "peoples_speech/clean/train-00001-of-00804.parquet"),
        ("voxpopuli/raw", "voxpopuli/raw_audios/en/2009"),
        ("tinystories", "tinystories/TinyStoriesV2-GPT4-train.txt"),
        ("hubert_labels", "hubert_labels/units.tsv"),
        ("folder/files", "folder/mine/b/2.wav"),
    ],
)
def test_a_link_that_leads_out_of_the_corpus_is_refused(laid_out, tmp_path, tmp_path_factory, layout, file):
    _, read = laid_out(layout)
    outside = tmp_path_factory.mktemp("outside") / "it"
    (tmp_path / file).rename(outside)
    os.symlink(outside, tmp_path / file)
    with pytest.raises(ValueError, match="leads out of"):
        read()


def test_a_corpus_may_itself_be_a_link(laid_out, tmp_path, tmp_path_factory):
    _, read = laid_out("librispeech")
    before = read()
    elsewhere = tmp_path_factory.mktemp("large disk") / "LibriSpeech"
    (tmp_path / "librispeech" / "LibriSpeech").rename(elsewhere)
    os.symlink(elsewhere, tmp_path / "librispeech" / "LibriSpeech")
    assert read() == before


@pytest.mark.parametrize(
    ("layout", "file", "line"),
    [
        ("librispeech", "librispeech/LibriSpeech/dev-clean/84/10/84-10.trans.txt", 3),
        ("ljspeech", "ljspeech/LJSpeech-1.1/metadata.csv", 3),
        ("folder/tsv", "folder/mine.tsv", 3),
        ("folder/jsonl", "folder/mine.jsonl", 4),
        ("peoples_speech/tar", "peoples_speech/train/clean.json", 3),
        ("voxpopuli/transcribed", "voxpopuli/transcribed_data/en/asr_dev.tsv", 5),
    ],
)
def test_an_id_that_occurs_twice_is_named_with_its_line(laid_out, tmp_path, layout, file, line):
    _, read = laid_out(layout)
    lines = (tmp_path / file).read_text().splitlines()
    is_headed = layout in ("folder/tsv", "voxpopuli/transcribed")
    (tmp_path / file).write_text("\n".join([*lines, lines[1 if is_headed else 0]]) + "\n")
    with pytest.raises(ValueError, match=f"line {line}.*(twice|new)"):
        read()


@pytest.mark.real_data
def test_real_labels_and_a_real_sample_of_ljspeech(real_corpora):
    found = list(hubert_labels.utterances(real_corpora, "all"))
    assert len(found) == 70 and sum(len(u.labels) for u in found) == 49261
    assert sum(len(u.words) for u in found) == 3323
    assert sum(symbol == "SPN" for u in found for _, symbol in u.phones) == 4
    heard = {u.id: u for u in hubert_labels.utterances(real_corpora, "audio")}
    assert list(heard) == ["103-1240-0000", "6313-76958-0021"] and len(heard["6313-76958-0021"].labels) == 596
    assert all(len(read_audio(u.audio)) == round(u.seconds * 16000) for u in heard.values())
    clips = list(ljspeech.utterances(real_corpora, "train"))
    assert len(clips) == 32 and abs(sum(len(read_audio(u.audio)) for u in clips) / 16000 / 60 - 3.7) < 0.05
    assert len(list(librispeech.utterances(real_corpora, "train-clean-100"))) == 200
