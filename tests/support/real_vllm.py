"""A vLLM server on a free port, for tests that attach to one: `make test-vllm` says where the program is."""

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openledger_node.backends.vllm.server import END_GRACE_S, attach, serve_arguments
from openledger_node.engine.backend import BackendSettings

VLLM_VARIABLE = "VLLM_FOR_TESTS"
KEEPER = Path(__file__).parents[2] / "node/openledger_node/backends/served/parent_watch.py"
PATIENCE_S = 300.0

SMALL = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
ARGUMENTS = ["--enforce-eager", "--kv-cache-memory-bytes", str(1 << 28)]


def tiny_settings(base: Path) -> BackendSettings:
    return BackendSettings(
        base_folder=str(base), device="cpu", dtype="float32", threads=1, batch_max=8, context_max=128
    )


@contextmanager
def real_vllm(command: str, base: Path) -> Iterator[str]:
    """Start vLLM, as an operator would, and wait until it serves; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = shlex.split(command)
    where = ["--host", "127.0.0.1", "--port", str(port)]
    words = [program[0], *serve_arguments(tiny_settings(base), base, None), *where, *ARGUMENTS, *program[1:]]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-I", str(KEEPER), str(END_GRACE_S), folder, *words],
            stdin=subprocess.PIPE,
            env={**os.environ, **SMALL},
            start_new_session=True,
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            attach(url, patience_s=PATIENCE_S)
            yield url
        finally:
            process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            process.wait()
