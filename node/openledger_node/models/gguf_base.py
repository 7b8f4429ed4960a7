"""Bases whose weights are a GGUF file: one that stays where another program keeps it, or one fetched from the hub."""

import shutil
from pathlib import Path

from openledger_protocol.primitives import Digest

from ..errors import ModelError
from ..home import Home, is_claimed
from .bases import Base, find_pulled, list_bases, problem_of, read_base, remove_base, write_base_json
from .fetch import Progress, Report, download, hash_file
from .gguf_head import EVERY_BACKEND, OTHER_BACKENDS, read_head
from .gguf_name import HubGguf, base_name
from .hub import find_hub_file
from .stores import StoredModel


def describe_stored(home: Home, model: StoredModel, report: Report) -> Base:
    """Describe a GGUF file in the data directory; the file itself is only read, and hashed once.

    Raises:
        ModelError: it can't be read, is not what its store says, or no base can be made of it.
    """
    from .gguf_files.describe import describe_gguf  # its libraries take a moment to import

    bases = list_bases(home)
    known = next((base for base in bases if base.gguf == model.file), None)
    if known and problem_of(known) is None:
        return known
    read_head(model.file)  # refuses a foreign file before gigabytes are hashed
    stamp = _stamp(model.file)
    digest = _checked_digest(model, report, stamp)
    for base in bases:
        if base.source == model.source or base.gguf == model.file:
            remove_stale(home, base)
    name = base_name(model.title, _names(home), digest)
    described = describe_gguf(home, model.file, name=name, digest=digest, source=model.source)
    if _stamp(model.file) != stamp:  # base.json may have the new file's time beside the old one's digest
        remove_base(described)
        raise _changing(model.file)
    return described


def pull_hub_gguf(home: Home, wanted: HubGguf, report: Report) -> Base:
    """Fetch one GGUF file of a repository; the hub states its digest.

    Raises:
        NetworkError: it could not be fetched; another run resumes the download.
        ModelError: the repository has no such file, or no base can be made of it.
    """
    from .gguf_files.describe import write_description  # its libraries take a moment to import

    known = find_pulled(home, wanted)
    if known and problem_of(known) is None:
        return known
    if known:
        remove_stale(home, known)
    report(Progress(what=f"asking for {wanted.repository}", done=0, total=1))
    found = find_hub_file(wanted)
    source = wanted.source(found.path)
    partial = home.models / f".{base_name(source, [], '')}.{found.link.sha256[:8]}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    file = partial / Path(found.path).name
    download(found.link, file, report)
    digest = Digest("0x" + found.link.sha256)
    name = base_name(file.stem, _names(home), digest)
    write_description(file, partial)
    write_base_json(partial, name=name, digest=digest, source=source, gguf=file)
    return read_base(partial.rename(home.models / name))


def _checked_digest(model: StoredModel, report: Report, stamp: tuple[int, int]) -> Digest:
    try:
        digest = hash_file(model.file, report)
    except OSError as error:
        raise ModelError(f"{model.file} can't be read ({error.strerror}): allow this user to read it") from error
    if _stamp(model.file) != stamp:
        raise _changing(model.file)
    if model.digest not in (None, digest):
        raise ModelError(
            f"{model.file} has SHA-256 {digest}, not {model.digest} as its name says: it is damaged; remove "
            f"{model.source} from its store, and download it there again"
        )
    return digest


def _stamp(file: Path) -> tuple[int, int]:
    """Size and time of a file, which change when it does."""
    try:
        found = file.stat()
    except OSError as error:
        raise ModelError(f"{file} can't be read ({error.strerror}): bring it back") from error
    return found.st_size, found.st_mtime_ns


def _changing(file: Path) -> ModelError:
    return ModelError(f"{file} changed while it was read: run this again when it is complete")


def remove_stale(home: Home, base: Base) -> None:
    """Remove the description of a file that its source no longer means."""
    if is_claimed(home):
        raise ModelError(
            f"{base.source} is another file now than the one that {base.name} was made from, and a node runs here: "
            "run `openledger-node stop`, and then this again"
        )
    assert base.folder is not None
    shutil.rmtree(base.folder)


def _names(home: Home) -> list[str]:
    return [folder.name for folder in home.models.iterdir()] if home.models.exists() else []


def backends_of(file: Path) -> tuple[str, ...]:
    """The backends that can serve a GGUF file, by its whole header, the fastest first.

    Raises:
        ModelError: the file can't be read.
    """
    from .gguf_files.config import is_fast_family  # its libraries take a moment to import
    from .gguf_files.header import read_header
    from .gguf_files.weights import unserved_type

    header = read_header(file)
    return EVERY_BACKEND if is_fast_family(header) and unserved_type(header) is None else OTHER_BACKENDS
