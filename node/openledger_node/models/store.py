"""The interface of every store of models that another program keeps on this machine; the node only reads it."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openledger_protocol.primitives import Digest

SPLIT_FIX = "join its parts with `llama-gguf-split --merge`, and give the path of the joined file"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """One GGUF file that another program holds."""

    source: str  # as `[inference] base` takes it, such as ollama:qwen3:8b
    title: str  # from which the base's name is made, such as qwen3-8b
    file: Path
    digest: Digest | None = None  # that the store states
    format: str | None = None  # of its numbers, such as Q4_K_M, that the store states


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreListing:
    """The content of a store: GGUF files, and the reasons why other models can't be used."""

    models: Sequence[StoredModel] = ()
    refused: Sequence[tuple[str, str]] = ()  # (source or folder, reason)


class ModelStore(Protocol):
    """A store of another program, which may be missing, unreadable or changing at any time."""

    @property
    def scheme(self) -> str:
        """The word before the colon in the names of its models."""

    @property
    def title(self) -> str:
        """The program's name."""

    def listing(self) -> StoreListing:
        """Everything in the store; a damaged model or an unreadable folder is refused and hides no other."""

    def find(self, name: str) -> StoredModel:
        """Find a model by its name without the scheme.

        Raises:
            ModelError: there is none, it can't be used, or the store can't be read; the message says what to do.
        """


def opening_command(folder: Path) -> str:
    """The command that lets everybody on this machine read a folder, without opening what is beside it."""
    closed = [str(parent) for parent in reversed(folder.parents) if _is_closed(parent)]
    commands = [f"chmod a+x {shlex.join(closed)}"] if closed else []
    return " && ".join(f"sudo {command}" for command in [*commands, f"chmod -R a+rX {shlex.quote(str(folder))}"])


def _is_closed(folder: Path) -> bool:
    """Return True if this user may not reach what is in a folder."""
    try:
        os.stat(f"{folder}/.")
    except PermissionError:
        return True
    except OSError:
        return False
    return False
