"""Names of GGUF files: what they tell of a file, and the name that a base gets from one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from openledger_protocol.constants import NAME_LENGTH_MAX
from openledger_protocol.primitives import check_name

QUANTISATION: Final = r"(?:UD-)?(?:I?Q[1-8]|TQ[12]|BF16|F16|FP16|F32|MXFP4|NVFP4)(?:_[A-Za-z0-9_]+)?"
"""The label of a file's number format, such as Q4_K_M, as the names of GGUF files end."""

PART_OF_SPLIT: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
"""The end of the name of one part of a model that is split into several files."""

_HUB_FILE = re.compile(r"([^/:@]+/[^/:@]+)(?:@([^/:@]+))?/([^:@]+\.gguf)", re.IGNORECASE)
_HUB_LABEL = re.compile(rf"([^/:@]+/[^/:@]+)(?:@([^:@]+))?:({QUANTISATION})", re.IGNORECASE)
_LABEL = re.compile(rf"(?:^|[-._])({QUANTISATION})$", re.IGNORECASE)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_COMPANIONS = ("mmproj", "imatrix")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubGguf:
    """A GGUF file of a repository on the Hugging Face hub."""

    repository: str  # OWNER/NAME
    revision: str | None
    wanted: str  # the file's path in the repository, or the label of its number format

    @property
    def is_file(self) -> bool:
        """True if the file is named, and not only its number format."""
        return self.wanted.lower().endswith(".gguf")

    def means(self, file: str) -> bool:
        """Return True if this is the file with the path `file` in the repository."""
        label = label_of(file)
        return file == self.wanted if self.is_file else label is not None and label.lower() == self.wanted.lower()

    def source(self, file: str) -> str:
        """The name of one of the repository's files, which a base keeps as its source."""
        return f"{self.repository}{f'@{self.revision}' if self.revision else ''}/{file}"


def read_hub_gguf(text: str) -> HubGguf | None:
    """Read OWNER/NAME[@REVISION]:FORMAT or OWNER/NAME[@REVISION]/FILE.gguf; None if it is another kind of name.

    Raises:
        MalformedError: a part of it is not a name.
    """
    found = _HUB_FILE.fullmatch(text) or _HUB_LABEL.fullmatch(text)
    if found is None:
        return None
    repository, revision, wanted = found.groups()
    for part in (*repository.split("/"), *(part for part in wanted.split("/") if part in ("", ".", ".."))):
        check_name(part)
    return HubGguf(repository=repository, revision=revision, wanted=wanted)


def is_companion(name: str) -> bool:
    """Return True for a file beside a model that is no model: a projector of pictures, or statistics."""
    return any(word in name.lower() for word in _COMPANIONS)


def label_of(name: str) -> str | None:
    """The number format that a file's name ends in, such as Q4_K_M; None if it says nothing."""
    found = _LABEL.search(_title(name))
    return found[1] if found else None


def without_label(name: str) -> str:
    """A file's name without its ending and its number format, which is the model's."""
    return _LABEL.sub("", _title(name))


def _title(name: str) -> str:
    return PART_OF_SPLIT.sub("", name).removesuffix(".gguf")


def base_name(title: str, taken: Iterable[str], digest: str) -> str:
    """Make a base's name of a title; if it is taken, the first digits of the digest tell them apart."""
    name = _NOT_IN_A_NAME.sub("-", title).lstrip("-._")[:NAME_LENGTH_MAX] or "base"
    if name not in taken:
        return name
    digits = f"-{digest.removeprefix('0x')[:8]}"
    return name[: NAME_LENGTH_MAX - len(digits)] + digits
