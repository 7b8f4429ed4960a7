"""Beats of the clock: loops that look at something each second wake together, which costs an idle node less."""

import trio


async def sleep_to_beat(period_s: float) -> None:
    """Sleep until the next multiple of `period_s` on trio's clock, so for `period_s` at most."""
    await trio.sleep_until(next_beat_s(period_s))


def next_beat_s(period_s: float) -> float:
    """The next multiple of `period_s` on trio's clock."""
    return (trio.current_time() // period_s + 1) * period_s
