"""PEFT adapters as GGUF LoRA, which is the format that llama-server loads; kept in the cache folder."""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from openledger_protocol.errors import AdapterRefusedError

from ...models.adapter_files.layout import CONFIG_FILE, WEIGHTS_FILE
from ...models.adapter_source import AdapterSource
from ...models.gguf_files.header import GgufHeader
from ...models.gguf_files.lora import Sites, convert_lora, target_of_gguf, write_lora
from ...models.packed_cache import keep, note_use, packed_name, source_stamps, stamp

FORMAT = 1
"""Increased whenever the same files would be converted differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaAdapter:
    """A converted adapter."""

    file: Path
    size_bytes: int


class AdapterConverter:
    """Converts adapters for one base; any thread may use it."""

    def __init__(self, header: GgufHeader, folder: Path) -> None:
        """`folder` takes the converted files."""
        self._target = target_of_gguf(header)
        self._folder = folder
        self._base = stamp(header.file)

    def convert(self, source: AdapterSource) -> LlamaAdapter:
        """Convert an adapter, or find the file of an earlier time.

        Raises:
            AdapterRefusedError: it does not fit the base, or has what a GGUF LoRA has no room for.
        """
        try:
            stamps = source_stamps(source, (CONFIG_FILE, WEIGHTS_FILE))
        except OSError as error:
            raise AdapterRefusedError(f"{error.filename} is not there") from error
        file = self._folder / packed_name(repr(("GGUF LoRA", FORMAT, stamps, self._base)))
        if not file.exists():
            self._write(file, convert_lora(Path(source.folder), self._target))
            keep(file)
        note_use(file)
        return LlamaAdapter(file=file, size_bytes=file.stat().st_size)

    def _write(self, file: Path, sites: Sites) -> None:
        """Write the file whole or not at all.

        Raises:
            AdapterRefusedError: the disk is full, or the folder can't be written.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix="partial-")
        os.close(descriptor)
        try:
            write_lora(Path(partial), self._target, sites)
            Path(partial).replace(file)
        except OSError as error:
            raise AdapterRefusedError(f"cannot write the converted adapter to {file.parent}: {error}") from error
        finally:
            with suppress(FileNotFoundError):
                os.unlink(partial)
