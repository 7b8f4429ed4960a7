"""Adapters on the Hugging Face hub, in PEFT format."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import check_name

from ..errors import ModelError, NetworkError
from ..home import Home
from .adapter_files.layout import CONFIG_BYTES_MAX, CONFIG_FILE
from .adapter_files.plain_file import read_json
from .adapters import ARTIFACT_FILES, Adapter, add_adapter
from .bases import Base
from .download import why_not_fetched

SIZE_BYTES_MAX: Final = 2 * 1024**3
"""The same limit as for an adapter from peers."""

NAMED_CHARS_MAX: Final = 200
PARTIAL_PREFIX: Final = ".hub-"
STALE_S: Final = 24 * 3_600
"""Time for which the parts of a download that was interrupted are kept, so that it can resume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAdapter:
    """An adapter's repository on the hub."""

    source: str  # OWNER/NAME[@REVISION]
    folder: Path  # where the download goes, and resumes
    download_bytes: int

    @property
    def name(self) -> str:
        """The name that the adapter gets here."""
        return self.source.partition("@")[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAdded:
    """An adapter that came from the hub."""

    adapter: Adapter
    received_bytes: int
    made_for: str | None  # the base that its files name, if that is not the one that is served


def is_hub_name(name: str) -> bool:
    """Return True for OWNER/NAME; the names that peers offer have no slash."""
    return "/" in name


def look_at_hub_adapter(home: Home, source: str) -> HubAdapter:
    """Ask the hub for the size of an adapter.

    Raises:
        NetworkError: the hub does not answer, or has no such repository.
        ModelError: the repository is not a LoRA adapter, or too large.
    """
    from huggingface_hub import HfApi  # takes a second to import, and is only needed here

    repository, _, revision = source.partition("@")
    folder = _partial_folder(home, source)
    try:
        found = HfApi().model_info(repository, revision=revision or None, files_metadata=True)
    except Exception as error:  # the hub's client raises errors of its own, of its HTTP library and of the system
        raise NetworkError(why_not_fetched(repository, error, otherwise="check the name and the network")) from error
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    if missing := [file for file in ARTIFACT_FILES if file not in sizes]:
        raise ModelError(
            f"{repository} has no {' and no '.join(missing)}, so it is not a LoRA adapter in PEFT format. For a base "
            f"model, run `openledger-node models pull {repository}`"
        )
    if (size := sum(sizes[file] for file in ARTIFACT_FILES)) > SIZE_BYTES_MAX:
        raise ModelError(
            f"{repository} has {size / 1e9:.1f} GB, and an adapter may have {SIZE_BYTES_MAX / 1e9:.1f} GB. Choose "
            "one of lower rank"
        )
    return HubAdapter(source=source, folder=folder, download_bytes=size)


def add_hub_adapter(home: Home, found: HubAdapter, base: Base) -> HubAdded:
    """Download an adapter, check it, and add it to the library. A download that was interrupted resumes.

    Raises:
        NetworkError: it could not be fetched.
        AdapterRefusedError: it was made for another base, or its files are invalid; they are deleted.
    """
    from huggingface_hub import snapshot_download  # takes a second to import, and is only needed here

    repository, _, revision = found.source.partition("@")
    try:
        snapshot_download(
            repository, revision=revision or None, local_dir=found.folder, allow_patterns=list(ARTIFACT_FILES)
        )
    except Exception as error:  # the hub's client raises errors of its own, of its HTTP library and of the system
        raise NetworkError(why_not_fetched(repository, error, otherwise="pull it again to resume")) from error
    try:
        adapter = add_adapter(home, found.folder, base, name=found.name)
        return HubAdded(adapter=adapter, received_bytes=found.download_bytes, made_for=_made_for(found.folder, base))
    finally:  # of no use any more, also if the adapter was refused
        shutil.rmtree(found.folder, ignore_errors=True)


def discard_partial(home: Home, source: str) -> None:
    """Delete what has arrived of an adapter whose pull was cancelled."""
    try:
        folder = _partial_folder(home, source)
    except ModelError:
        return  # a name that was refused has no folder
    shutil.rmtree(folder, ignore_errors=True)


def discard_stale_partials(home: Home, *, now_s: float) -> int:
    """Delete downloads that nobody has gone on with for `STALE_S`; return their number.

    A download that runs in a command beside this process writes all the time, and is not stale.
    """
    stale = [folder for folder in home.adapters.glob(f"{PARTIAL_PREFIX}*") if _is_stale(folder, now_s)]
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    return len(stale)


def _is_stale(folder: Path, now_s: float) -> bool:
    try:
        return now_s - _written_s(folder) > STALE_S
    except OSError:  # its download has just ended, or it is another user's: no reason not to start
        return False


def _written_s(folder: Path) -> float:
    """The time at which anything in a folder was last written."""
    times = [folder.lstat().st_mtime]
    for each in folder.rglob("*"):
        with suppress(FileNotFoundError):  # the hub's client renames its files
            times.append(each.lstat().st_mtime)
    return max(times)


def _partial_folder(home: Home, source: str) -> Path:
    """The folder of the download of OWNER/NAME[@REVISION].

    Raises:
        ModelError: the name is not valid.
    """
    repository = source.partition("@")[0]
    return home.adapters / f"{PARTIAL_PREFIX}{'--'.join(map(_checked, repository.split('/', 1)))}"


def _checked(part: str) -> str:
    try:
        return check_name(part)
    except MalformedError as error:
        raise ModelError(f"{part[:100]!r} can't be in the name of a repository: give OWNER/NAME") from error


def _made_for(folder: Path, base: Base) -> str | None:
    """The base that an adapter's config names; None if that is the one that is served, or if it names none."""
    named = read_json(folder / CONFIG_FILE, size_bytes_max=CONFIG_BYTES_MAX).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        return None
    ours = {_last_part(base.name), _last_part((base.source or "").partition("@")[0])}
    return None if _last_part(named) in ours else named[:NAMED_CHARS_MAX]


def _last_part(name: str) -> str:
    """The name without its owner, by which a copy of a base in another account is the same base."""
    return name.rpartition("/")[2].lower()
