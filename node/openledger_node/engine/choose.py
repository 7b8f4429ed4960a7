"""The backend for a base on this machine, where [inference] backend is "auto"."""

import json
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass

from ..config import InferenceConfig
from ..machine import look_at_machine
from ..models.bases import Base
from ..models.stored_format import is_known_served

AUTO = "auto"
LLAMA_SERVER = "llama-server"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoice:
    """A backend's name, and a clause that says why it was chosen."""

    backend: str
    why: str


def choose_backend(inference: InferenceConfig, base: Base) -> BackendChoice:
    """Choose by the base's format, the GPU and what is installed.

    llamacpp is chosen only if there is a llama-server. Without one, torch_lora says what it can't do.

    Raises:
        ModelError: the base's GGUF file can't be read.
    """
    if inference.backend != AUTO:
        return BackendChoice(backend=inference.backend, why="set by [inference] backend")
    if base.folder is None:
        return BackendChoice(backend="fake", why="the fake base has no files")
    if base.gguf is None:
        return BackendChoice(backend="torch_lora", why="the base is in Hugging Face format")
    reason = _why_llama(inference, base)
    if reason is None:
        return BackendChoice(
            backend="torch_lora", why="the node's own engine reads this GGUF file, and mixes adapters"
        )
    if not (inference.server_url or shutil.which((shlex.split(inference.server_command) or [LLAMA_SERVER])[0])):
        return BackendChoice(backend="torch_lora", why=f"{reason}, but no llama-server is installed")
    return BackendChoice(backend="llamacpp", why=reason)


def _why_llama(inference: InferenceConfig, base: Base) -> str | None:
    """The reason for which llama.cpp serves a GGUF base better; None if it does not."""
    if reason := _why_unread(base):
        return reason
    machine = look_at_machine()
    if inference.device == "auto" and machine.card and machine.card.vendor == "amd" and machine.trouble:
        return "torch can't use the AMD GPU, and llama.cpp can"
    return None


def _why_unread(base: Base) -> str | None:
    """The reason for which the node's own engine does not read a GGUF base; None if it does.

    The base's config.json says so without a look into the file, whose header has the whole vocabulary.
    """
    assert base.folder is not None, "a GGUF base has a folder with its description"
    assert base.gguf is not None, "it is a GGUF base"
    with suppress(OSError, ValueError):  # then the header decides
        if is_known_served(json.loads((base.folder / "config.json").read_bytes())):
            return None
    from ..models.gguf_files.config import is_fast_family  # its libraries take a moment to import
    from ..models.gguf_files.header import read_header
    from ..models.gguf_files.weights import unserved_type

    header = read_header(base.gguf)
    if not is_fast_family(header):
        return f"the node's own engine does not know the architecture {header.architecture}"
    if kind := unserved_type(header):
        return f"the node's own engine does not read {kind.name}"
    return None
