"""The places of a bootstrap node, by the number of files that its process may open."""

import resource

import pytest

from openledger_node.p2p.bootstrap import CONNECTIONS_MAX, FILES_FOR_OTHERS, places_for

UNLIMITED = resource.RLIM_INFINITY
ENOUGH = CONNECTIONS_MAX + FILES_FOR_OTHERS


class Limits:
    """The limits of a process, which it may raise as the system lets it."""

    def __init__(self, soft: int, hard: int) -> None:
        self.soft, self.hard = soft, hard

    def get(self, _: int) -> tuple[int, int]:
        return self.soft, self.hard

    def set(self, _: int, limits: tuple[int, int]) -> None:
        soft, hard = limits
        assert hard == self.hard, "the hard limit is never lowered, since it can't be raised again"
        assert hard == UNLIMITED or soft <= hard
        self.soft = soft


@pytest.mark.parametrize(
    ("soft", "hard", "places", "soft_after"),
    [
        (1_024, 1_048_576, CONNECTIONS_MAX, ENOUGH),
        (1_024, UNLIMITED, CONNECTIONS_MAX, ENOUGH),
        (UNLIMITED, UNLIMITED, CONNECTIONS_MAX, UNLIMITED),
        (20_000, 20_000, CONNECTIONS_MAX, 20_000),
        (1_024, 1_024, 256, 1_024),
        (256, 512, 1, 512),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_it_may_be(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    soft: int,
    hard: int,
    places: int,
    soft_after: int,
) -> None:
    limits = Limits(soft, hard)
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    assert places_for(CONNECTIONS_MAX) == places
    assert limits.soft == soft_after
    assert ("LimitNOFILE" in caplog.text) == (places < CONNECTIONS_MAX)
