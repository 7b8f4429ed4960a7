"""Epochs and deadlines of the development network."""

from typing import Any

from openledger_protocol.epoch import (
    GuardianPause,
    Windows,
    epoch_at,
    is_claimable_epoch,
    propose_until_s,
    ready_at_s,
    show_until_s,
    withdrawal_s,
)

from .common import Case, Rules, read

WINDOWS = {
    "epoch_s": 30,
    "propose_s": 60,
    "window_s": 10,
    "redraw_blocks": 16,
    "contest_s": 30,
    "judge_s": 60,
    "pause_max_s": 30,
    "pause_gap_s": 60,
    "unbonding_s": 120,
    "withdraw_delay_min_s": 10,
    "withdraw_delay_max_s": 3_600,
    "withdraw_period_s": 604_800,
}
NOW = {**WINDOWS, "timestamp_s": 1_700_000_000}

EPOCHS: list[Case] = [
    ("start", "time zero is epoch zero", {**NOW, "timestamp_s": 0}),
    ("last second", "of the first epoch", {**NOW, "timestamp_s": 29}),
    ("first second", "of the second", {**NOW, "timestamp_s": 30}),
    ("today", "divided, rounded down", NOW),
]
CLAIMABLE: list[Case] = [
    ("now", "the epoch that is", {**NOW, "epoch": 56_666_666}),
    ("the one before", "for work at its end", {**NOW, "epoch": 56_666_665}),
    ("two before", "too late", {**NOW, "epoch": 56_666_664}),
    ("the next", "too early", {**NOW, "epoch": 56_666_667}),
]
PLAIN = {**NOW, "delay_s": 40, "pause": {"from_s": 0, "until_s": 0}}


def paused(from_s: int, until_s: int) -> dict[str, Any]:
    """A network that was paused at these seconds, from now."""
    now_s = 1_700_000_000
    return {**PLAIN, "pause": {"from_s": now_s + from_s, "until_s": now_s + until_s}}


DEADLINES: list[Case] = [
    ("plain", "each from what happened before it", PLAIN),
    ("a pause within", "moves both limits along", paused(20, 50)),
    ("a pause that ran already", "moves them by what was left of it", paused(-20, 5)),
    ("a pause in the last second", "moves the first", paused(60, 90)),
    ("a pause just after", "moves the second only", paused(61, 91)),
    ("a pause before", "moves nothing", paused(-30, 0)),
]


def deadlines(given: Any) -> dict[str, int]:
    windows, now_s = read(Windows, given), given["timestamp_s"]
    first_s, last_s = withdrawal_s(now_s, given["delay_s"], windows)
    pause = GuardianPause(**given["pause"])
    return {
        "propose_until_s": propose_until_s(now_s, windows, pause),
        "ready_at_s": ready_at_s(now_s, windows),
        "show_until_s": show_until_s(ready_at_s(now_s, windows), windows, pause),
        "withdraw_from_s": first_s,
        "withdraw_until_s": last_s,
    }


RULES: Rules = {
    "epoch_at": (lambda given: epoch_at(given["timestamp_s"], read(Windows, given)), EPOCHS),
    "is_claimable_epoch": (
        lambda given: is_claimable_epoch(given["epoch"], given["timestamp_s"], read(Windows, given)),
        CLAIMABLE,
    ),
    "deadlines": (deadlines, DEADLINES),
}
