"""Fetching from a real server on this machine: one that breaks off, lies, changes its files, or serves bad archives."""

import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console
from rich.progress import Progress

from data import fetch as fetching
from data.corpora import tinystories
from data.fetch import PACKAGES, Package, Remote, fetch
from data.unpack import unpack

TRAIN, VALID = "TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"
STORY = b"One day, Tom ran. He ran to the barn.\n<|endoftext|>\n" * 4000


class Server(ThreadingHTTPServer):
    """Serves `files`; `habits` are what it does wrong, one a request, and `requests` what it was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.habits: list[str] = []
        self.requests: list[str | None] = []
        self.tag = '"1"'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.requests.append(asked)
        habit = server.habits.pop(0) if server.habits else "good"
        content = server.files.get(self.path.lstrip("/"))
        if habit == "503" or content is None:
            return self.send_error(503 if habit == "503" else 404)
        if habit == "change":
            server.files[self.path.lstrip("/")] = content = content[::-1]
            server.tag = '"2"'
        start = 0
        if asked and habit != "no ranges" and self.headers.get("If-Range") == server.tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            start = start // 2 if habit == "lie" else start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        if habit != "no tag":
            self.send_header("ETag", server.tag)
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: len(body) // 2] if habit in ("break", "no tag") else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def get(server, tmp_path):
    """`fetch` from the server, into tmp_path, without waiting; its `said` is what was printed."""

    def run(name: str = "tinystories", attempts: int = 4):
        console = Console(file=io.StringIO(), width=200)
        with Progress(console=console, disable=True) as progress:
            try:
                return fetch(name, tmp_path, progress, base=server.url, waits=(0.0,) * attempts)
            finally:
                run.said = console.file.getvalue()

    return run


@pytest.fixture
def stories(server):
    server.files = {TRAIN: STORY, VALID: STORY[:6000]}
    return server


def tar_of(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def test_what_is_fetched_is_what_the_corpus_reads_and_the_licence_is_said_first(stories, get, tmp_path):
    assert get() == tmp_path / "tinystories"
    assert get.said.startswith("TinyStories") and "CDLA-Sharing-1.0" in get.said.splitlines()[0]
    assert len(list(tinystories.utterances(tmp_path, "train"))) == 4000
    row = json.loads((tmp_path / "tinystories" / "fetched.json").read_text())[TRAIN]
    assert row["bytes"] == len(STORY) and row["sha256"] == hashlib.sha256(STORY).hexdigest()


def test_what_is_there_is_not_fetched_again(stories, get):
    get()
    asked = len(stories.requests)
    get()
    assert len(stories.requests) == asked == 2 and get.said.count("already there") == 2


def test_a_connection_that_breaks_is_continued_where_it_stopped(stories, get, tmp_path):
    stories.habits = ["break", "503", "break"]
    get()
    assert (tmp_path / "tinystories" / TRAIN).read_bytes() == STORY
    half = len(STORY) // 2
    assert stories.requests[:4] == [None, f"bytes={half}-", f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_the_next_command_continues_where_an_earlier_one_gave_up(stories, get, tmp_path):
    stories.habits = ["break"] + ["503"] * 5
    with pytest.raises(ValueError, match="503.*same command continues"):
        get(attempts=2)
    assert not (tmp_path / "tinystories" / TRAIN).exists()
    stories.habits, stories.requests = [], []
    get()
    assert stories.requests[0] == f"bytes={len(STORY) // 2}-"
    assert (tmp_path / "tinystories" / TRAIN).read_bytes() == STORY


@pytest.mark.parametrize("habit", ["lie", "no ranges", "change"])
def test_a_server_that_cannot_continue_is_asked_for_everything_again(stories, get, tmp_path, habit):
    stories.habits = ["break", habit]
    get()
    expected = STORY[::-1] if habit == "change" else STORY
    assert (tmp_path / "tinystories" / TRAIN).read_bytes() == expected == stories.files[TRAIN]


def test_nothing_is_continued_that_cannot_be_told_from_another_version(stories, get, tmp_path):
    stories.habits = ["no tag"]
    get()
    assert stories.requests[:2] == [None, None] and (tmp_path / "tinystories" / TRAIN).read_bytes() == STORY


def test_a_server_that_always_breaks_and_lies_is_given_up(stories, get):
    stories.habits = ["break", "lie"] * 50
    with pytest.raises(ValueError, match="gave up after 3"):
        get(attempts=2)
    assert len(stories.requests) < 12


def test_an_answer_that_will_not_change_is_not_asked_for_again(server, get):
    with pytest.raises(ValueError, match="404.*is the address still right"):
        get()
    assert len(server.requests) == 1


def test_wrong_bytes_are_refused_and_removed(server, get, tmp_path):
    server.files = {"dev-clean.tar.gz": tar_of((member("LibriSpeech/dev-clean/x"), b"x"))}
    with pytest.raises(ValueError, match="sha256 is .* publisher states 76f87d09") as caught:
        get("librispeech/dev-clean")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "librispeech" / "dev-clean.tar.gz").exists()
    assert not (tmp_path / "librispeech" / "LibriSpeech").exists()


def test_an_archive_that_somebody_put_there_is_checked_too(server, get, tmp_path):
    (tmp_path / "librispeech").mkdir()
    (tmp_path / "librispeech" / "dev-clean.tar.gz").write_bytes(b"not what it should be")
    with pytest.raises(ValueError, match="publisher states 76f87d09"):
        get("librispeech/dev-clean")
    assert not server.requests and not (tmp_path / "librispeech" / "dev-clean.tar.gz").exists()


def test_the_name_of_a_corpus_is_all_of_its_parts_under_one_licence(server, get, tmp_path):
    for split in ("dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100", "train-clean-360"):
        (tmp_path / "librispeech" / "LibriSpeech" / split).mkdir(parents=True)
    with pytest.raises(ValueError, match="train-other-500.tar.gz: the server answers 404"):
        get("librispeech")
    assert get.said.count("already there") == 6 and get.said.count("CC BY 4.0") == 1


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_an_archive_with_the_published_digest_is_unpacked_beside_what_is_there(
    server, get, tmp_path, monkeypatch, kind
):
    content = tar_of((member("LibriSpeech/READ.ME"), b"new"), (member("LibriSpeech/dev-clean/1/2/a"), b"sound"))
    digest = f"{kind}:{hashlib.new(kind, content).hexdigest()}"
    remote = Remote(url="http://nowhere.invalid/dev-clean.tar.gz", digest=digest, creates="LibriSpeech/dev-clean")
    monkeypatch.setitem(PACKAGES, "librispeech/dev-clean", Package(licence="CC BY 4.0", files=(remote,)))
    server.files = {"dev-clean.tar.gz": content}
    home = tmp_path / "librispeech" / "LibriSpeech"
    (home / "test-clean").mkdir(parents=True)
    (home / "READ.ME").write_text("old")
    get("librispeech/dev-clean")
    assert (home / "dev-clean" / "1" / "2" / "a").read_bytes() == b"sound"
    assert (home / "READ.ME").read_text() == "old" and (home / "test-clean").is_dir()
    assert sorted(path.name for path in home.parent.iterdir()) == [".fetching", "LibriSpeech", "fetched.json"]


def test_a_file_that_changed_since_its_first_download_is_noticed(stories, get, tmp_path):
    get()
    (tmp_path / "tinystories" / TRAIN).unlink()
    stories.files[TRAIN] = STORY + b"more"
    with pytest.raises(ValueError, match="fetched.json says of the first download"):
        get()
    assert not (tmp_path / "tinystories" / TRAIN).exists()
    stories.files[TRAIN] = STORY
    get()


def test_a_tar_whose_content_is_not_known_beforehand_is_done_once_it_is_written_down(server, get, tmp_path):
    server.files = {"SWC_English.tar": tar_of((member("english/Rome/aligned.swc"), b"<article/>"), mode="w")}
    get("swc")
    assert (tmp_path / "swc" / "english" / "Rome" / "aligned.swc").is_file()
    get("swc")
    assert len(server.requests) == 1


def test_voxpopuli_lands_where_its_reader_looks(server, get, tmp_path, monkeypatch):
    event = "20090112-PLENARY_en"
    table = gzip.compress(f"event_id\tsegment_no\tstart\tend\n{event}\t0\t0.0\t1.0\n".encode())
    server.files = {"unlabelled_v2.tsv.gz": table}
    for remote in PACKAGES["voxpopuli"].files[1:]:
        year, half = remote.name[3:7], remote.name[7:-4]
        server.files[remote.name] = tar_of((member(f"en/{year}/{year}0112{half}_en.ogg"), b"x"), mode="w")
    server.files["en_2009.tar"] = tar_of((member(f"en/2009/{event}.ogg"), b"x"), mode="w")
    get("voxpopuli")
    from data.corpora import voxpopuli

    (found,) = voxpopuli.utterances(tmp_path, "unlabelled-train")
    assert found.audio.is_file() and found.audio.is_relative_to(tmp_path / "voxpopuli" / "raw_audios" / "en" / "2009")
    assert len(list((tmp_path / "voxpopuli" / "raw_audios" / "en" / "2009").iterdir())) == 2


def test_a_kill_between_download_and_unpacking_costs_no_second_download(server, get, tmp_path):
    content = tar_of((member("english/Rome/aligned.swc"), b"<article/>"), mode="w")
    (tmp_path / "swc").mkdir()
    (tmp_path / "swc" / "SWC_English.tar").write_bytes(content)
    get("swc")
    assert server.requests == [] and (tmp_path / "swc" / "english" / "Rome" / "aligned.swc").is_file()


def test_an_archive_without_what_it_should_create_is_refused(tmp_path):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar_of((member("other/x"), b"x")))
    with pytest.raises(ValueError, match="a.tar.gz: holds no LibriSpeech/dev-clean"):
        unpack(archive, tmp_path / "to", tmp_path / "to" / "LibriSpeech" / "dev-clean")
    assert not (tmp_path / "to").exists()


BAD_TARS = {
    "climbs": [(member("../x"), b"x")],
    "climbs within": [(member("a/../../x"), b"x")],
    "absolute": [(member("/tmp/x-of-slm-test"), b"x")],
    "link out": [(member("a", tarfile.SYMTYPE, "../../etc"), b"")],
    "absolute link": [(member("a", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    "hard link out": [(member("a", tarfile.LNKTYPE, "../../etc/passwd"), b"")],
    "through a link": [(member("a", tarfile.SYMTYPE, "b"), b""), (member("a/x"), b"x")],
    "over a link": [(member("a", tarfile.SYMTYPE, "b"), b""), (member("a"), b"x")],
    "device": [(member("a", tarfile.CHRTYPE), b"")],
    "pipe": [(member("a", tarfile.FIFOTYPE), b"")],
}


@pytest.mark.parametrize("name", BAD_TARS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_reaches_out_is_refused_whole(tmp_path, name, mode):
    archive = tmp_path / ("a.tar" if mode == "w" else "a.tgz")
    archive.write_bytes(tar_of((member("good"), b"x"), *BAD_TARS[name], mode=mode))
    with pytest.raises(ValueError, match=str(archive)) as caught:
        unpack(archive, tmp_path / "to")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name], "nothing was unpacked, anywhere"


@pytest.mark.parametrize("name", ["a.tar", "a.tgz"])
def test_a_tar_that_stops_early_or_goes_on_after_a_bad_header_is_not_taken_for_whole(tmp_path, name):
    """Python's own reader ends without a word at either."""
    whole = tar_of((member("a"), b"x" * 512), (member("b"), b"y" * 512), mode="w")
    for damaged in (whole[:1024], whole[:2048], whole[:1024] + b"?" + whole[1025:]):
        (tmp_path / name).write_bytes(gzip.compress(damaged) if name == "a.tgz" else damaged)
        with pytest.raises(ValueError, match=f"{name}: cannot be unpacked.* at byte"):
            unpack(tmp_path / name, tmp_path / "to")
        assert not (tmp_path / "to").exists()


def test_links_inside_an_archive_are_kept(tmp_path):
    archive = tmp_path / "a.tgz"
    link = member("release/legacy/sph", tarfile.SYMTYPE, "../data/sph")
    archive.write_bytes(tar_of((member("release/data/sph/t.sph"), b"x"), (link, b"")))
    unpack(archive, tmp_path)
    assert (tmp_path / "release" / "legacy" / "sph" / "t.sph").read_bytes() == b"x" and not archive.exists()


def zip_of(name: str, mode: int = 0o100644) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("good", b"x")
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, b"/etc/passwd")
    return file.getvalue()


@pytest.mark.parametrize(("name", "mode"), [("../x", 0o100644), ("/x", 0o100644), ("a", 0o120777), ("a", 0o020644)])
def test_a_zip_that_reaches_out_is_refused_whole(tmp_path, name, mode):
    (tmp_path / "a.zip").write_bytes(zip_of(name, mode))
    with pytest.raises(ValueError, match="a.zip.*refused whole"):
        unpack(tmp_path / "a.zip", tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_zip_is_unpacked(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_of("b/c"))
    unpack(tmp_path / "a.zip", tmp_path / "to")
    assert (tmp_path / "to" / "b" / "c").read_bytes() == b"/etc/passwd" and not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.zip"])
def test_a_damaged_archive_gives_one_line_or_files_inside(tmp_path, name):
    content = b"".join(bytes([i % 251]) for i in range(3000))
    mode = {"a.tar": "w", "a.zip": ""}.get(name, f"w:{name[6:]}")
    whole = zip_of("b/c") if not mode else tar_of((member("d/e"), content), (member("d/f"), content), mode=mode)
    chance = random.Random(name)
    (tmp_path / "in").mkdir()
    for number in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        archive = tmp_path / "in" / name
        archive.write_bytes(damaged[: chance.choice((len(damaged), chance.randrange(len(damaged))))])
        try:
            unpack(archive, tmp_path / "in" / f"to{number}")
        except ValueError as error:
            assert str(archive) in str(error) and "\n" not in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_cannot_be_fetched_says_how_to_obtain_it_and_unknown_names_list_the_known(get, tmp_path):
    with pytest.raises(ValueError, match="hf download MLCommons/peoples_speech"):
        get("peoples_speech")
    with pytest.raises(ValueError, match="librispeech/train-clean-100, .*tinystories"):
        get("nothing")
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_write_one_file(stories, get, tmp_path):
    (tmp_path / "tinystories").mkdir()
    import fcntl

    with open(tmp_path / "tinystories" / ".fetching", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is fetching"):
            get()


def test_the_table_is_whole(tmp_path):
    for name, package in PACKAGES.items():
        assert package.licence and bool(package.files) != bool(package.how), name
        names = [remote.name for remote in package.files]
        assert len(set(names)) == len(names)
        for remote in package.files:
            kind, _, digest = (remote.digest or f"md5:{'0' * 32}").partition(":")
            assert remote.url.startswith("https://") and len(digest) == len(hashlib.new(kind).hexdigest())
    assert fetching.WAITS == tuple(sorted(fetching.WAITS))
