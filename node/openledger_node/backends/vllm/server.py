"""The vLLM server: either the operator's, or one that the node starts and ends."""

import json
import os
import re
import shlex
import shutil
from math import prod
from pathlib import Path

from ...engine.backend import BackendSettings
from ...engine.budget import base_bytes_on_disk
from ...errors import ModelError
from ...machine import look_at_machine
from ...models.decoder_config import read_config
from ..served.child import ChildServer
from ..served.client import Client
from ..served.client import attach as attach_client

NAME = "vLLM"
SERVED_NAME = "base"
KEY_VARIABLE = "VLLM_API_KEY"

RANKS = (16, 32, 64, 128, 256, 512)
"""Rank limits that vLLM accepts, from the lowest that leaves room for the usual adapters."""

ADAPTER_SHARE = 0.25
"""Adapters' share of the GPU memory that the base leaves; the KV cache needs the rest."""

USED_SHARE = 0.9
"""vLLM's own share of a GPU's memory, if the owner sets no cap."""

HOST_ADAPTERS = 128
"""Adapters that vLLM keeps in RAM."""

ATTACH_PATIENCE_S = 60.0
END_GRACE_S = 1.0
"""Short, because a pause gives the card back within two seconds, and the next server needs this one's memory."""

REASON_LINES = 3

_IS_REASON = re.compile(r"\b(\w*[Ee]rror:|Value error,)")
_PARALLEL = re.compile(r"(?:--tensor-parallel-size|--pipeline-parallel-size|-tp|-pp)[= ](\d+)")
_SAYS_NOTHING = ("See root cause above", "Failed core proc")


class OwnServer(ChildServer):
    """A vLLM server that the node starts."""

    def __init__(self, program: list[str], arguments: list[str], environment: dict[str, str]) -> None:
        """Start the server; the operator's extra arguments in `program` follow `arguments`."""
        super().__init__(
            NAME,
            lambda socket: [program[0], *arguments, "--uds", socket, *program[1:]],
            environment=environment,
            grace_s=END_GRACE_S,
            reason_in=reason_in,
        )


def start_server(settings: BackendSettings, folder: Path, model_context: int | None) -> OwnServer:
    """Start a server of the base in `folder` and wait until it is ready.

    Raises:
        ModelError: the program is not installed, or ended before it was ready.
    """
    program = shlex.split(settings.server_command or "vllm")
    if not program or shutil.which(program[0]) is None:
        raise ModelError(
            f"no program {program[0] if program else ''!r} is here: install vLLM into an environment of its own and "
            "set [inference] server_command to its `vllm`, or server_url to a server that runs"
        )
    arguments = serve_arguments(settings, folder, model_context, gpu_bytes=look_at_machine().gpu_bytes)
    server = OwnServer(program, arguments, _environment(settings))
    server.wait_ready()
    return server


def attach(url: str, *, patience_s: float = ATTACH_PATIENCE_S) -> Client:
    """Connect to the operator's server; it has a minute to answer, because it may just be starting.

    Raises:
        ModelError: no server answers there.
    """
    return attach_client(NAME, url, os.environ.get(KEY_VARIABLE), patience_s=patience_s)


def serve_arguments(
    settings: BackendSettings, folder: Path, model_context: int | None, *, gpu_bytes: int = 0
) -> list[str]:
    """The arguments of `vllm`, except for its address; `gpu_bytes`: the memory of a GPU, 0 if it is unknown.

    vLLM reserves a slot of the largest rank on all linear maps for each adapter that a batch may use, 336 MB at rank
    64 and 8B. So the rank is that of the adapters here, and there are as many slots as the memory has room for.
    """
    context = min(settings.context_max, model_context or settings.context_max)
    rank = next((rank for rank in RANKS if rank >= settings.adapter_rank_max), RANKS[-1])
    options: dict[str, object] = {
        "served-model-name": SERVED_NAME,
        "dtype": settings.dtype,
        "max-model-len": context,
        "max-num-seqs": settings.batch_max,
        "max-loras": _num_slots(settings, folder, rank, gpu_bytes),
        "max-cpu-loras": max(HOST_ADAPTERS, settings.batch_max),
        "max-lora-rank": rank,
        "generation-config": "vllm",  # sampling is set by each request, not by the base's files
        # The same parser as in our engine, and no more white space than it allows.
        "structured-outputs-config": json.dumps({"backend": "guidance", "disable_any_whitespace": True}),
    }
    if settings.device_bytes_max and gpu_bytes:
        options["gpu-memory-utilization"] = round(min(USED_SHARE, settings.device_bytes_max / gpu_bytes), 3)
    if settings.kv_cache_bytes:
        options["kv-cache-memory-bytes"] = settings.kv_cache_bytes
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["serve", str(folder), *words, "--enable-lora", "--disable-uvicorn-access-log"]


def _num_slots(settings: BackendSettings, folder: Path, rank: int, gpu_bytes: int) -> int:
    """One slot for each row of a batch, so that none waits for another's adapter to leave, or as many as fit."""
    may_use = settings.device_bytes_max or int(gpu_bytes * USED_SHARE)
    room = may_use - base_bytes_on_disk(folder) // _num_gpus(settings.server_command)
    if not gpu_bytes or room <= 0:  # unknown, or the base is loaded in another way than its files say
        return settings.batch_max
    try:
        config = read_config(folder)
    except (ModelError, KeyError):  # vLLM serves more architectures than we know
        return settings.batch_max
    numbers = config.num_layers * rank * sum(d_in + d_out for d_in, d_out in config.site_dims.values())
    return max(1, min(settings.batch_max, int(room * ADAPTER_SHARE / (2 * numbers))))


def _num_gpus(server_command: str) -> int:
    """The GPUs among which the operator's arguments divide the base."""
    return prod(int(number) for number in _PARALLEL.findall(server_command))


def reason_in(lines: list[str]) -> str:
    """The reason in the last lines of a log: its last errors, without those that only point to others."""
    told = [line for line in lines if _IS_REASON.search(line) and not any(empty in line for empty in _SAYS_NOTHING)]
    chosen = (told or [line for line in lines if line])[-REASON_LINES:]
    return " / ".join(dict.fromkeys(chosen)) or "it said nothing"


def _environment(settings: BackendSettings) -> dict[str, str]:
    defaults = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
    if settings.threads:
        defaults["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # else its CPU build uses one thread for each core
    others = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    return {**defaults, **others, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
