"""Lines and counts of the interop tests."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Results:
    """Checks that passed and failed."""

    num_passed: int = 0
    failed: list[str] = field(default_factory=list)

    def run(self, name: str, check: Callable[[], str]) -> None:
        """Run one check and print its line; `check` returns what to say of it."""
        began_s = time.monotonic()
        try:
            found = check()
        except Exception as error:
            self.failed.append(name)
            found = f"FAILED: {error!r}"
        else:
            self.num_passed += 1
        print(f"{name:<34} {time.monotonic() - began_s:5.1f} s  {found}", flush=True)


def check(holds: bool, what: str) -> None:
    """Fail a check with what was found instead."""
    if not holds:
        raise RuntimeError(what)
