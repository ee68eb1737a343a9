"""Corpora from their publishers: downloaded, checked, unpacked into the layout that `data/corpora` reads.

In: a name of PACKAGES and the corpora folder. Out: `DIR/<corpus>/…`, each file whole or absent, and
`DIR/<corpus>/fetched.json` with the size and SHA-256 of everything fetched. Interrupted downloads go on where they
stopped. Only what may be downloaded openly has addresses; the other entries say how to obtain it.
"""

import errno
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress, TaskID

from data.unpack import unpack
from slm.atomic import read_json, write_json

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each further attempt; progress starts them anew (a choice)."""
TIMEOUT = 60.0
"""Seconds without a byte before a connection counts as broken (a choice)."""
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file of a publisher."""

    url: str
    digest: str | None = None
    """`sha256:…` or `md5:…`, where the publisher or a well-known library states it. None: what came the first time is
    written to `fetched.json`, and anything else is refused later."""
    to: str = "."
    """Folder below `DIR/<corpus>` into which the file goes, or is unpacked."""
    creates: str | None = None
    """What is there, below `DIR/<corpus>`, once it is unpacked; None: not known, `fetched.json` alone says."""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Package:
    """A corpus, or a part of it."""

    licence: str
    files: tuple[Remote, ...] = ()
    how: str = ""
    """How to obtain it, where there are no files."""


class _Restart(Exception):
    """What was downloaded so far does not belong to what the server has now."""


def fetch(
    name: str, corpora: Path, progress: Progress, base: str | None = None, waits: tuple[float, ...] = WAITS
) -> Path:
    """Fetch a corpus into `corpora/<corpus>`, which is returned; what is there already is left alone.

    A name is one of PACKAGES, `<corpus>` or `<corpus>/<part>`; `<corpus>` alone is all of its parts. `base` stands for
    the address of every file up to its name. `ValueError` says in one line what is wrong and what to do; no damaged
    file is left under a final name.
    """
    names = [known for known in PACKAGES if known == name or known.startswith(f"{name}/")]
    if not names:
        raise ValueError(f"nothing to fetch under the name {name!r}: choose one of {', '.join(PACKAGES)}")
    folder, packages = corpora / name.partition("/")[0], [PACKAGES[known] for known in names]
    for licence in dict.fromkeys(package.licence for package in packages):
        progress.console.print(licence, markup=False, highlight=False)
    files = [remote for package in packages for remote in package.files]
    if not files:
        raise ValueError(f"{name} cannot be fetched by this command: {packages[0].how}")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        for remote in files:
            url = remote.url if base is None else f"{base.rstrip('/')}/{remote.name}"
            if _is_there(remote, folder):
                progress.console.print(f"{remote.name}: already there", markup=False, highlight=False)
            else:
                _bring(remote, url, folder, progress, waits)
    return folder


def _is_there(remote: Remote, folder: Path) -> bool:
    if remote.creates is not None:
        return (folder / remote.creates).exists()
    return remote.name in _fetched(folder)


def _fetched(folder: Path) -> dict[str, dict]:
    """What `fetched.json` says: file -> url, bytes, sha256."""
    path = folder / "fetched.json"
    return read_json(path) if path.exists() else {}


def _bring(remote: Remote, url: str, folder: Path, progress: Progress, waits: tuple[float, ...]) -> None:
    """Download, check, unpack, write down. A file under its own name is whole, and only waits to be unpacked."""
    part, whole = folder / f"{remote.name}.part", folder / remote.name
    if not whole.exists():
        _download(url, part, progress, progress.add_task(remote.name, total=None), waits)
    file = whole if whole.exists() else part
    row = {"url": url, "bytes": file.stat().st_size, "sha256": _digest(file, "sha256")}
    _check(remote, row, file, folder)
    os.replace(file, whole)
    _state(part).unlink(missing_ok=True)
    unpack(whole, folder / remote.to, None if remote.creates is None else folder / remote.creates)
    write_json(folder / "fetched.json", _fetched(folder) | {remote.name: row})


def _check(remote: Remote, row: dict, file: Path, folder: Path) -> None:
    """Refuse and remove a download that is not what was published, or not what was fetched before."""
    expected, source = remote.digest, "its publisher states"
    if expected is None and remote.name in _fetched(folder):
        expected = f"sha256:{_fetched(folder)[remote.name]['sha256']}"
        source = f"{folder / 'fetched.json'} says of the first download (take the row out to accept the change)"
    if expected is None:
        return
    kind, _, digest = expected.partition(":")
    actual = row["sha256"] if kind == "sha256" else _digest(file, kind)
    if actual != digest:
        file.unlink()
        raise ValueError(f"{row['url']}: {kind} is {actual}, {source} {digest}; the download was removed, try again")


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _state(part: Path) -> Path:
    """Beside a partial download: which version of the file it is a part of."""
    return part.with_name(f"{part.name}.json")


def _download(url: str, part: Path, progress: Progress, task: TaskID, waits: tuple[float, ...]) -> None:
    """Bring `part` to its full length. Attempts that get further than any before are not counted."""
    failures = furthest = 0
    while True:
        try:
            return _attempt(url, part, progress, task)
        except _Restart:
            part.unlink(missing_ok=True)
            _state(part).unlink(missing_ok=True)
            reason = "the file changed, or the server cannot continue it"
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            if error.code not in (408, 429) and error.code < 500:
                raise ValueError(f"{url}: {reason}; is the address still right?") from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
        reached = part.stat().st_size if part.exists() else 0
        failures, furthest = (0, reached) if reached > furthest else (failures + 1, furthest)
        if failures > len(waits):
            raise ValueError(f"{url}: {reason}; gave up after {failures} attempts, the same command continues")
        time.sleep(waits[max(failures - 1, 0)] if waits else 0)


def _attempt(url: str, part: Path, progress: Progress, task: TaskID) -> None:
    """One request, from where `part` ends."""
    state = read_json(_state(part)) if part.exists() and _state(part).exists() else {}
    have = part.stat().st_size if state.get("validator") else 0
    if have and have == state.get("bytes"):
        return
    headers = {"User-Agent": "slm-fetch/1", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state["validator"]}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            raise _Restart from None
        raise
    with response:
        start, size = _offered(response, have)
        validator = _validator(response)
        if start and (validator != state["validator"] or state.get("bytes") not in (None, size)):
            raise _Restart
        if size is not None and size - start > shutil.disk_usage(part.parent).free:
            raise ValueError(f"{url}: {size:,} bytes do not fit on the disk of {part.parent}")
        if not start:
            part.unlink(missing_ok=True)
            write_json(_state(part), {"validator": validator, "bytes": size})
        progress.update(task, completed=start, total=size)
        with open(part, "ab") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                progress.update(task, advance=len(chunk))
            file.flush()
            os.fsync(file.fileno())
    arrived = part.stat().st_size
    if size is not None and arrived < size:
        raise http.client.HTTPException(f"the connection ended after {arrived:,} of {size:,} bytes")
    if size is not None and arrived > size:
        raise _Restart


def _offered(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """(first byte, size of the whole file or None) of an answer; a part that was not asked for starts anew."""
    if response.status == 206:
        given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if not have or not given or int(given[1]) != have or int(given[2]) + 1 != int(given[3]):
            raise _Restart
        return have, int(given[3])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d+", length) else None


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What `If-Range` may name: a strong entity tag, else the time of the last change."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


@contextmanager
def _alone(folder: Path):
    with open(folder / ".fetching", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another process is fetching into it; wait for it to end") from None
        yield


# Addresses and digests, and where they were read:
# LibriSpeech, TED-LIUM 3, LJ Speech: github.com/pytorch/audio, torchaudio/datasets/{librispeech,tedlium,ljspeech}.py.
# Libri-Light: github.com/facebookresearch/libri-light, data_preparation/README.md.
# VoxPopuli: github.com/facebookresearch/voxpopuli, voxpopuli/{__init__,download_audios,get_unlabelled_data}.py.
# SWC: github.com/ynop/audiomate, audiomate/corpus/io/swc.py. TinyStories: its page on the hub, at a pinned revision.

_LIBRISPEECH = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}
_LIBRILIGHT = {
    "small": "md5:c49207eb86a8e8ac895561c37232041e",
    "medium": "md5:c75e7ac62471bfbf2db77528d62a9b74",
    "large": "md5:4dfbac018f50b99797ece101fc9f0c30",
    "duplicate": None,
}
_META = "https://dl.fbaipublicfiles.com"
_TINYSTORIES = "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"

PACKAGES: dict[str, Package] = {
    **{
        f"librispeech/{split}": Package(
            licence="LibriSpeech (c) 2014 Vassil Panayotov, CC BY 4.0, openslr.org/12",
            files=(
                Remote(
                    url=f"https://www.openslr.org/resources/12/{split}.tar.gz",
                    digest=f"sha256:{digest}",
                    creates=f"LibriSpeech/{split}",
                ),
            ),
        )
        for split, digest in _LIBRISPEECH.items()
    },
    **{
        f"librilight/{subset}": Package(
            licence="Libri-Light, recordings of LibriVox in the public domain; 35 GB small, 321 GB medium, 3 TB large",
            files=(Remote(url=f"{_META}/librilight/data/{subset}.tar", digest=digest, creates=subset),),
        )
        for subset, digest in _LIBRILIGHT.items()
    },
    "tedlium": Package(
        licence="TED-LIUM release 3, CC BY-NC-ND 3.0, talks are property of TED Conferences LLC, openslr.org/51",
        files=(
            Remote(
                url="https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz",
                digest="sha256:ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb",
                creates="TEDLIUM_release-3",
            ),
        ),
    ),
    "ljspeech": Package(
        licence="The LJ Speech Dataset 1.1, public domain, keithito.com/LJ-Speech-Dataset",
        files=(
            Remote(
                url="https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
                digest="sha256:be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
                creates="LJSpeech-1.1",
            ),
        ),
    ),
    "swc": Package(
        licence="Spoken Wikipedia Corpora, English, CC BY-SA 4.0, nats.gitlab.io/swc; 16 GB",
        files=(Remote(url="https://www2.informatik.uni-hamburg.de/nats/pub/SWC/SWC_English.tar"),),
    ),
    "voxpopuli": Package(
        licence="VoxPopuli, unlabelled English, CC0, European Parliament (its legal notice applies); up to 385 GB",
        files=(
            Remote(url=f"{_META}/voxpopuli/annotations/unlabelled_v2.tsv.gz", to="unlabelled_data"),
            *(
                Remote(url=f"{_META}/voxpopuli/audios/en_{year}{half}.tar", to="raw_audios")
                for year in range(2009, 2021)
                for half in ("", "_2")
            ),
        ),
    ),
    "tinystories": Package(
        licence="TinyStories (Eldan & Li 2023), CDLA-Sharing-1.0, huggingface.co/datasets/roneneldan/TinyStories",
        files=tuple(
            Remote(url=f"{_TINYSTORIES}/{name}", creates=name)
            for name in ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt")
        ),
    ),
    "peoples_speech": Package(
        licence="The People's Speech, CC BY and CC BY-SA by segment, mlcommons.org/datasets/peoples-speech",
        how="hf download MLCommons/peoples_speech --repo-type dataset --include 'clean/*' --local-dir "
        "DIR/peoples_speech (huggingface_hub's command; shards change with its revisions, so none is pinned here)",
    ),
    "hubert_labels": Package(
        licence="Labels of SpeechLM's train_sample100, MIT, transcripts CC BY 4.0",
        how="take SpeechLM/dataset/LibriSpeech of github.com/microsoft/SpeechT5 and write the tables that "
        "data/corpora/hubert_labels.py describes",
    ),
}
