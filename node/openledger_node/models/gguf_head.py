"""The kind of model in a GGUF file, from its first bytes, so that a list of many files takes a moment.

A file is read and checked in full only when a base is made of it.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ModelError
from .gguf_name import label_of

HEAD_BYTES = 1 << 14
"""The architecture is the first field in practice; its number format, if it is stated at all, is anywhere."""

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)

ENGINE_FAMILIES: Final = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3")
"""Architectures, in GGUF's words, that the engine's own path runs."""

ENGINE_FORMATS: Final = (
    *("F32", "F16", "FP16", "BF16"),
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"),
)
"""Beginnings of the labels whose files the engine's own path reads; Q4_K_M and the like mix Q4_K with Q6_K."""

EVERY_BACKEND: Final = ("torch_lora", "llamacpp")
OTHER_BACKENDS: Final = ("llamacpp",)
"""Backends for the files that the engine's own path does not read."""

_SCALARS: Final = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_TEXT: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHead:
    """The kind of model that a GGUF file holds."""

    architecture: str
    format: str | None  # the label of its numbers, such as Q4_K_M; None if neither name nor store states it

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends that can serve it as far as these two tell, the fastest first."""
        is_known = self.architecture in ENGINE_FAMILIES
        is_read = self.format is None or self.format.upper().removeprefix("UD-").startswith(ENGINE_FORMATS)
        return EVERY_BACKEND if is_known and is_read else OTHER_BACKENDS


def read_head(file: Path, *, label: str | None = None) -> GgufHead:
    """Read a file's architecture; `label`: its number format, if a store states it.

    Raises:
        ModelError: it is not a GGUF file of a language model, is torn, or can't be read.
    """
    try:
        with file.open("rb") as stream:
            architecture = _architecture(_Head(file, stream.read(HEAD_BYTES)))
    except OSError as error:
        raise ModelError(f"{file} can't be read ({error.strerror}): allow this user to read it") from error
    return GgufHead(architecture=architecture, format=label or label_of(file.name))


def _architecture(head: "_Head") -> str:
    if head.take(4) != MAGIC:
        raise head.refusal("it does not begin with GGUF")
    if (version := head.number("<I")) not in VERSIONS:
        raise head.refusal(f"version {version & 0xFFFF}, or the other byte order")
    head.take(8)  # the number of tensors
    for _ in range(head.number("<Q")):
        key, kind = head.text(), head.number("<I")
        if kind != _TEXT and kind not in _SCALARS:
            break  # a list: the architecture comes before any
        value = head.text() if kind == _TEXT else head.number(_SCALARS[kind])
        if key == "general.architecture" and isinstance(value, str):
            return value
    raise head.refusal("it does not begin with the kind of model that it holds")


class _Head:
    """The first bytes of a file, taken from front to back."""

    def __init__(self, file: Path, content: bytes) -> None:
        self._file = file
        self._content = content

    def take(self, count: int) -> bytes:
        piece, self._content = self._content[:count], self._content[count:]
        if len(piece) < count:
            raise self.refusal("it ends within its first fields")
        return piece

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self) -> str:
        return self.take(self.number("<Q")).decode("utf-8", "replace")

    def refusal(self, reason: str) -> ModelError:
        return ModelError(f"{self._file} can't be read as a GGUF model ({reason}): get the file again")
