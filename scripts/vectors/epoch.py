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

from .common import Rules, read


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
    "epoch_at": lambda given: epoch_at(given["timestamp_s"], read(Windows, given)),
    "is_claimable_epoch": lambda given: is_claimable_epoch(
        given["epoch"], given["timestamp_s"], read(Windows, given)
    ),
    "deadlines": deadlines,
}
