"""A backend in a package of its own, for real children: the fake, on a device that fails as a file says."""

from pathlib import Path

import pytest

MODULE = """
import os
from pathlib import Path

from openledger_node.backends.fake import FakeBackend

FAULT = Path(os.environ["FAULT_FILE"])


def fail(when):
    place, _, words = (FAULT.read_text() if FAULT.exists() else "").partition(":")
    if place == when:
        raise RuntimeError(words)


class FaultyBackend(FakeBackend):
    def step(self, rows):
        fail("step")
        return super().step(rows)


def open_backend(settings):
    fail("open")
    return FaultyBackend(settings)
"""


class FaultyPlug:
    """The backend `faulty`, and the errors of its device."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
        described = root / "faulty_backend-1.0.dist-info"
        described.mkdir(parents=True)
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-backend\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text(
            "[openledger_node.backend]\nfaulty = faulty_backend:open_backend\n"
        )
        (root / "faulty_backend.py").write_text(MODULE)
        self.environment = {"PYTHONPATH": str(root), "FAULT_FILE": str(root / "fault")}
        for name, value in self.environment.items():
            if monkeypatch:
                monkeypatch.setenv(name, value)
        self._file = root / "fault"

    def fail(self, when: str, words: str) -> None:
        """From now on raise a RuntimeError with these words in each "open" or in each "step"."""
        self._file.write_text(f"{when}:{words}")

    def mend(self) -> None:
        """The device works again."""
        self._file.unlink(missing_ok=True)
