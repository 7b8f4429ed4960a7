"""Epochs and deadlines of the development network."""

from typing import Any

from openledger_protocol.epoch import (
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
DEADLINES: list[Case] = [("plain", "each from what happened before it", {**NOW, "delay_s": 40})]


def deadlines(given: Any) -> dict[str, int]:
    windows, now_s = read(Windows, given), given["timestamp_s"]
    first_s, last_s = withdrawal_s(now_s, given["delay_s"], windows)
    return {
        "propose_until_s": propose_until_s(now_s, windows),
        "ready_at_s": ready_at_s(now_s, windows),
        "show_until_s": show_until_s(ready_at_s(now_s, windows), windows),
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
