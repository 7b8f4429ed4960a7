"""A timed process, which runs only during its turn and is stopped otherwise."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

BENCH = Path(__file__).resolve().parent
PLAYERS = BENCH / "players"
ENVIRONMENT = {"PYTHONPATH": str(BENCH), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
TAIL_LINES = 3


class PlayerError(Exception):
    """A timed process failed; the message says how."""


class Contender:
    """One player and our ends of its pipes."""

    def __init__(
        self,
        script: str,
        words: dict[str, Any],
        log_file: Path,
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] = {},
    ) -> None:
        self._log_file = log_file
        with log_file.open("a") as log:
            self._process = subprocess.Popen(
                [python, str(PLAYERS / script), json.dumps(words)],
                env={**os.environ, **ENVIRONMENT, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._about: dict[str, Any] | None = None

    @property
    def about(self) -> dict[str, Any]:
        """Its description of itself, after waiting until it is open."""
        if self._about is None:
            self._about = self._read()
            self.stop()
        return self._about

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """Wake it, let it do one thing, and stop it.

        Raises:
            PlayerError: it failed.
        """
        self.about  # noqa: B018  # it must be open first
        with self._awake():
            print(json.dumps({"do": do, **words}), file=_pipe(self._process.stdin), flush=True)
            return self._read()

    def stop(self) -> None:
        """Stop it, so that it uses no processor until its turn."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            _pipe(pipe).close()

    @contextmanager
    def _awake(self) -> Iterator[None]:
        if self._process.poll() is not None:
            raise PlayerError(self._last_words())
        os.killpg(self._process.pid, signal.SIGCONT)
        try:
            yield
        finally:
            if self._process.poll() is None:
                self.stop()

    def _read(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise PlayerError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PlayerError(answer["error"])
        return answer

    def _last_words(self) -> str:
        lines = self._log_file.read_text(errors="replace").splitlines()
        return f"it ended: {' / '.join(lines[-TAIL_LINES:]) or 'it printed nothing'}"


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
