"""A look at a base on the Hugging Face hub before its download: its config.json and the sizes of its files."""

import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from openledger_protocol.primitives import check_name

from ..errors import ModelError, NetworkError
from ..home import Home
from .config_fields import CONFIG_BYTES_MAX
from .download import HUB_FILES, why_not_fetched

LICENSE_CHARS_MAX = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLook:
    """The facts that the hub tells about a base."""

    folder: Path  # where the download will continue; holds config.json, if the repository has one
    download_bytes: int  # of the files that `models pull` takes
    weight_bytes: int  # of its *.safetensors
    license: str | None = None  # as the model card names it

    def forget(self) -> None:
        """Delete what was fetched, unless a part of the weights is there from a download that stopped."""
        if not any(self.folder.rglob("*.safetensors*")) and not any(self.folder.rglob("*.incomplete")):
            shutil.rmtree(self.folder, ignore_errors=True)


def look_at_hub(home: Home, source: str) -> HubLook:
    """Fetch config.json and the list of files of OWNER/NAME[@REVISION].

    Raises:
        NetworkError: the hub does not answer, or has no such base.
        ModelError: its config.json is too large for one.
    """
    from huggingface_hub import HfApi, hf_hub_download  # takes a second to import, and is only needed here

    repository, _, revision = source.partition("@")
    name = "--".join(check_name(part) for part in repository.split("/", 1))
    folder = home.models / f".{name}.partial"
    try:
        found = HfApi().model_info(repository, revision=revision or None, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
        if 0 < sizes.get("config.json", 0) <= CONFIG_BYTES_MAX:
            hf_hub_download(repository, "config.json", revision=revision or None, local_dir=folder)
    except Exception as error:  # the hub's client raises errors of its own, of its HTTP library and of the system
        raise NetworkError(why_not_fetched(repository, error, otherwise="check the name and the network")) from error
    if (size := sizes.get("config.json", 0)) > CONFIG_BYTES_MAX:
        raise ModelError(f"the config.json of {repository} has {size:,} bytes: it is not a base model")
    return HubLook(
        folder=folder,
        download_bytes=_bytes(sizes, HUB_FILES),
        weight_bytes=_bytes(sizes, ["*.safetensors"]),
        license=_license(found.card_data),
    )


def _license(card: object) -> str | None:
    """The licence of a model card, whose fields a stranger wrote."""
    written = getattr(card, "license_name", None) or getattr(card, "license", None)
    return written[:LICENSE_CHARS_MAX] if isinstance(written, str) else None


def _bytes(sizes: dict[str, int], patterns: list[str]) -> int:
    return sum(size for name, size in sizes.items() if any(fnmatch(name, pattern) for pattern in patterns))
