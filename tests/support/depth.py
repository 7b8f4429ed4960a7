"""Sizes of a test run: `make test` tries a few of everything, `make test-deep` tries many, by the same tests."""

import os
from enum import Enum
from typing import Final, TypeVar

T = TypeVar("T")

DEPTH_VARIABLE: Final = "TEST_DEPTH"


class Depth(Enum):
    """How much a test run does."""

    LIGHT = "light"
    CI = "ci"  # as much as LIGHT, and the tests that need a network or install packages
    DEEP = "deep"


DEPTH = Depth(os.environ.get(DEPTH_VARIABLE, "light"))

NOT_RUN: Final = {Depth.LIGHT: ("ci", "deep"), Depth.CI: ("deep",), Depth.DEEP: ()}
"""Markers of the tests that a run leaves out."""


def depth(*, light: T, deep: T) -> T:
    """Return `deep` in `make test-deep`, else `light`."""
    return deep if DEPTH is Depth.DEEP else light
