"""The llama.cpp server: either the operator's, or one that the node starts, ends and starts again."""

import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...engine.backend import BackendSettings
from ...errors import ModelError
from ..served.child import ChildServer
from ..served.client import Client
from ..served.client import attach as attach_client
from .plan import ServerPlan

NAME = "llama.cpp"
PROGRAM = "llama-server"
KEY_VARIABLE = "LLAMA_API_KEY"

ATTACH_PATIENCE_S = 60.0
END_GRACE_S = 1.0
"""A pause gives the memory back within two seconds."""

HELP_TIMEOUT_S = 30.0

NEEDED = ("--cache-ram", "--kv-unified", "--lora-init-without-apply", "--slot-prompt-similarity")
"""Flags without which payers' prompts can't be kept apart, or adapters can't be chosen by each request."""

WHERE_KNOWN: dict[str, tuple[str, ...]] = {
    "--no-cache-idle-slots": (),  # it would move prompts into a cache that all requests search
    "--no-slots": (),  # it would show prompts to whoever has the key
    "--no-webui": (),
    "--no-context-shift": (),
}
"""Flags of newer servers, given only to a server that has them."""

WRITES_PROMPTS = ("-v", "--verbose", "--log-verbose", "-lv", "--verbosity", "--log-verbosity")

MANY_IN_ONE = "comma-separated values to load multiple adapters"
"""In the help of servers that take only the last `--lora`."""

PROBE_TOKENS = 64
REASON_LINES = 2
_IS_REASON = re.compile(r"error|fail|unable|cannot|out of memory|unknown model architecture", re.IGNORECASE)
_STAMP = re.compile(r"^(?:[0-9.]+ )?[EWI] ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A llama-server that is installed here, and what its help says."""

    words: tuple[str, ...]  # the program, and the operator's extra arguments
    help: str

    def has(self, flag: str) -> bool:
        """Return True if the program knows a flag."""
        return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", self.help) is not None


def find_program(server_command: str) -> Program:
    """Find llama-server, and check that it is new enough.

    Raises:
        ModelError: it is not installed, does not start, is too old, or would write prompts to its log.
    """
    words = shlex.split(server_command or PROGRAM)
    if not words or shutil.which(words[0]) is None:
        raise ModelError(
            f"no program {words[0] if words else ''!r} is here: install llama.cpp and set [inference] server_command "
            "to its `llama-server`, or server_url to a server that runs"
        )
    if chatty := next((word for word in words[1:] if word.partition("=")[0] in WRITES_PROMPTS), None):
        raise ModelError(
            f"llama-server would write prompts to its log: remove {chatty} from [inference] server_command"
        )
    words[0] = str(Path(shutil.which(words[0]) or words[0]).absolute())  # it runs in another folder
    program = Program(words=tuple(words), help=_help_of(words[0]))
    if missing := [flag for flag in NEEDED if not program.has(flag)]:
        raise ModelError(
            f"{words[0]} is too old, or no llama-server: it has no {', '.join(missing)}; install llama.cpp of "
            "November 2025 or later"
        )
    return program


class OwnServer(ChildServer):
    """A llama-server that the node starts."""

    def __init__(self, program: Program, arguments: Sequence[str], *, threads: int, folder: Path | None) -> None:
        """Start the server; the operator's extra arguments follow `arguments`. `folder`: where its adapters are."""
        super().__init__(
            NAME,
            lambda socket: [program.words[0], *arguments, "--host", socket, *program.words[1:]],
            environment=_environment(threads),
            grace_s=END_GRACE_S,
            reason_in=reason_in,
            folder=folder,
        )


def attach(url: str, *, patience_s: float = ATTACH_PATIENCE_S) -> Client:
    """Connect to the operator's server; it has a minute to answer, because it may just be starting.

    Raises:
        ModelError: no server answers there.
    """
    return attach_client(NAME, url, os.environ.get(KEY_VARIABLE), patience_s=patience_s)


def check_apart(client: Client, lora: list[dict[str, object]]) -> None:
    """Require that the operator's server finds no prompt again that another one has replaced in its slot.

    If it does, it searches all prompts of all payers. `lora`: switches all adapters off.

    Raises:
        ModelError: says which flags are missing.
    """
    first, other = (secrets.SystemRandom().choices(range(16, 100), k=PROBE_TOKENS) for _ in range(2))
    body: dict[str, object] = {"n_predict": 1, "stream": False, "id_slot": 0, "cache_prompt": True, "lora": lora}
    for prompt in (first, other, first):
        reply = client.ask("POST", "/completion", {**body, "prompt": prompt})
    if reply.status == 200 and reply.fields.get("timings", {}).get("cache_n", 0) > PROBE_TOKENS // 2:
        raise ModelError(
            "the llama-server reuses one payer's prompt for another: start it with --cache-ram 0 and "
            "--slot-prompt-similarity 0"
        )


def serve_arguments(
    program: Program, settings: BackendSettings, gguf: Path, plan: ServerPlan, adapters: Sequence[Path]
) -> list[str]:
    """The arguments of llama-server, except for its address; adapters are given by name, in its working folder."""
    words = ["--model", str(gguf.resolve()), "--ctx-size", str(plan.kv_tokens), "--parallel", str(settings.batch_max)]
    words += ["--kv-unified", "--cache-ram", "0", "--slot-prompt-similarity", "0"]
    for flag, values in WHERE_KNOWN.items():
        words += [flag, *values] if program.has(flag) else []
    if settings.threads:
        words += ["--threads", str(settings.threads)]
    if settings.device == "cpu":
        words += ["--device", "none", "--gpu-layers", "0"]
    elif plan.gpu_layers is not None:
        words += ["--gpu-layers", str(plan.gpu_layers)]
    elif not program.has("--fit"):  # newer servers find out by themselves how many layers the card has room for
        words += ["--gpu-layers", "999"]
    if settings.dtype == "float32":
        words += ["--cache-type-k", "f32", "--cache-type-v", "f32"]
    if adapters:
        names = [file.name for file in adapters]
        words += ["--lora", ",".join(names)] if MANY_IN_ONE in program.help else _repeated("--lora", names)
        words += ["--lora-init-without-apply"]
    return words


def reason_in(lines: list[str]) -> str:
    """The reason in the last lines of a log: its first errors, from which the others follow."""
    lines = [_STAMP.sub("", line) for line in lines]
    told = [line for line in lines if _IS_REASON.search(line)][:REASON_LINES]
    return " / ".join(dict.fromkeys(told or [line for line in lines if line][-REASON_LINES:])) or "it said nothing"


def _help_of(program: str) -> str:
    try:
        run = subprocess.run(
            [program, "--help"], capture_output=True, text=True, timeout=HELP_TIMEOUT_S, errors="replace", check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"{program} --help does not answer: {error}: install llama.cpp again") from error
    return run.stdout + run.stderr


def _repeated(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _environment(threads: int) -> dict[str, str]:
    """Ours without llama.cpp's own variables, which would override what the node asks for, such as its log."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_ARG_", "LLAMA_LOG_"))}
    own.pop(KEY_VARIABLE, None)
    return {**own, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
