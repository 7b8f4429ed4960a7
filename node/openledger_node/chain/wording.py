"""What contracts refuse, in words: amounts in OPEN, times on this machine's clock, and what to do."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final


def open_text(amount_wei: int) -> str:
    """An amount for people, exact to the wei: `1.25 OPEN`."""
    whole, rest = divmod(amount_wei, 10**18)
    decimals = f"{rest:018d}".rstrip("0")
    return f"{whole:,}{'.' + decimals if decimals else ''} OPEN"


def time_text(at_s: int) -> str:
    """A moment by this machine's clock: `2026-01-31 10:00:00 UTC`."""
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def refusal_text(name: str, arguments: Mapping[str, Any]) -> str:
    """A contract's error for people; one without words of its own as it is, with its values."""
    if name in WORDS:
        return WORDS[name](*arguments.values())
    shown = ", ".join(f"{key} {value}" for key, value in arguments.items())
    return name + (f" ({shown})" if shown else "")


WORDS: Final[Mapping[str, Callable[..., str]]] = {
    "ERC20InsufficientBalance": lambda sender, balance, needed: (
        f"{sender} has {open_text(balance)}, and this takes {open_text(needed)}: bring more there, or say less"
    ),
    "InsufficientBond": lambda bonded, amount: (
        f"the stake is {open_text(bonded)}, less than {open_text(amount)}: say less"
    ),
    "NothingMatured": lambda now_s: (
        f"no stake can be taken out yet, at {time_text(now_s)} by the chain's clock: `openledger-node stake remove` "
        "begins it, `openledger-node stake show` says when it can"
    ),
    "TooManyRequests": lambda most: (
        f"{most} parts of the stake are on their way out already, and no more can be: "
        "`openledger-node stake withdraw` takes out those that are due"
    ),
    "NothingAccrued": lambda node: f"the bond of {node} has earned nothing that could be taken out yet",
    "StakeTooSmall": lambda bonded, least: (
        f"the stake is {open_text(bonded)}, and must be {open_text(least)}: `openledger-node stake add`"
    ),
    "DepositTooSmall": lambda amount, least: (
        f"a channel takes no less than {open_text(least)}, and this is {open_text(amount)}: pay in more"
    ),
    "InsufficientBalance": lambda account, balance, amount: (
        f"{account} has {open_text(balance)} to withdraw, less than {open_text(amount)}: say less"
    ),
    "NotReady": lambda ready_s: f"this claim can't be final before {time_text(ready_s)} by the chain's clock: wait",
    "WithdrawalNotReady": lambda ready_s: (
        f"the channel's rest can't be withdrawn before {time_text(ready_s)} by the chain's clock: say it again then"
    ),
    "WithdrawalExpired": lambda expired_s: (
        f"the channel's rest could be withdrawn until {time_text(expired_s)}: `openledger-node channels close` "
        "asks for it anew"
    ),
    "WithdrawalPending": lambda channel_id, until_s: (
        f"the rest of channel {channel_id} is asked for already: `openledger-node channels withdraw` takes it out; "
        f"after {time_text(until_s)} it can be asked for anew"
    ),
    "NothingToWithdraw": lambda channel_id: (
        f"channel {channel_id} has nothing to withdraw: `openledger-node channels list` shows what is left in it"
    ),
    "BondLocked": lambda until_s: f"the adapter's bond can't be taken back before {time_text(until_s)}: wait",
    "AdapterExists": lambda adapter_id: f"adapter {adapter_id} is registered already, and its entry can't be changed",
    "ZeroAmount": lambda: "the amount is 0: say how much",
}
"""By the error's name; each takes its values in the contract's order."""
