"""When the supervisor ends an engine, and what the log says then."""

from dataclasses import replace

import pytest

from openledger_node.engine.supervision import EngineLimits, Vitals, why_kill

LIMITS = EngineLimits(stall_timeout_s=60.0, load_timeout_s=600.0, memory_max_bytes=1 << 30)
WELL = Vitals(is_ready=True, has_work=True, silent_s=59.0, rss_bytes=1 << 29)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (WELL, None),
        (replace(WELL, rss_bytes=None), None),
        (replace(WELL, has_work=False, silent_s=10_000.0), None),  # an idle engine says nothing
        (replace(WELL, is_ready=False, silent_s=599.0), None),
        (replace(WELL, silent_s=61.0), "has said nothing for 61 s"),
        (replace(WELL, is_ready=False, has_work=False, silent_s=601.0), "not ready after 601 s"),
        (replace(WELL, rss_bytes=(1 << 30) + 1), "memory_max_bytes is 1.1 GB"),
        (replace(WELL, is_ready=False, silent_s=0.0, rss_bytes=1 << 31), "takes 2.1 GB"),
    ],
    ids=repr,
)
def test_an_engine_past_help_is_ended_and_the_log_says_why(seen: Vitals, words: str | None) -> None:
    why = why_kill(seen, LIMITS)
    assert why is None if words is None else words in (why or "")
    assert "takes" not in (why_kill(seen, replace(LIMITS, memory_max_bytes=0)) or ""), "0 means no limit"
