"""Contract errors in words: amounts in OPEN, times on this machine's clock, and what to do."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final


def open_text(amount_wei: int) -> str:
    """Format an amount in OPEN, exact to the wei, such as `1.25 OPEN`."""
    return f"{_amount_text(amount_wei)} OPEN"


def coins_text(amount_wei: int) -> str:
    """Format an amount in the chain's own coin, exact to the wei, such as `1.25 coins`."""
    return f"{_amount_text(amount_wei)} coins"


def _amount_text(amount_wei: int) -> str:
    whole, rest = divmod(amount_wei, 10**18)
    decimals = f"{rest:018d}".rstrip("0")
    return f"{whole:,}{'.' + decimals if decimals else ''}"


def time_text(at_s: int) -> str:
    """Format a time in this machine's time zone, such as `2026-01-31 10:00:00 UTC`."""
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def bond_text(bond_wei: int, free_at_s: int, now_s: float, name: str | None) -> str:
    """The state of a retired adapter's bond in words; with the adapter's name, also how to take a free one back."""
    if not bond_wei:
        return "its bond was taken back"
    bond, free_at = f"its bond of {open_text(bond_wei)}", time_text(free_at_s)
    if now_s < free_at_s:
        return f"{bond} is free at {free_at}"
    take_back = f": `openledger-node adapters reclaim {name}`" if name else ""
    return f"{bond} has been free since {free_at}{take_back}"


def refusal_text(name: str, arguments: Mapping[str, Any]) -> str:
    """A contract's error in words; an error without an entry in `WORDS` by its name and values."""
    if name in WORDS:
        return WORDS[name](*arguments.values())
    shown = ", ".join(f"{key} {value}" for key, value in arguments.items())
    return name + (f" ({shown})" if shown else "")


PROPOSAL_STATES: Final = (
    "not open for votes yet",
    "open for votes",
    "cancelled",
    "defeated",
    "won and not queued yet",
    "queued",
    "expired",
    "executed",
)
"""The governor's states, by number. Source: IGovernor of OpenZeppelin."""

WORDS: Final[Mapping[str, Callable[..., str]]] = {
    "ERC20InsufficientBalance": lambda sender, balance, needed: (
        f"{sender} has {open_text(balance)}, and this needs {open_text(needed)}; "
        "send OPEN to that account, or use a smaller amount"
    ),
    "InsufficientBond": lambda bonded, amount: (
        f"the stake is {open_text(bonded)}, less than {open_text(amount)}; use a smaller amount"
    ),
    "NothingMatured": lambda now_s: (
        f"no stake can be taken out yet, at {time_text(now_s)} by the chain's clock; `openledger-node stake remove` "
        "starts to unbond it, and `openledger-node stake show` says when it is due"
    ),
    "TooManyRequests": lambda most: (
        f"{most} parts of the stake are unbonding already, which is the limit; "
        "`openledger-node stake withdraw` takes out those that are due"
    ),
    "StakeTooSmall": lambda bonded, least: (
        f"the stake is {open_text(bonded)}, but must be at least {open_text(least)}; run `openledger-node stake add`"
    ),
    "DepositTooSmall": lambda amount, least: (
        f"a channel needs at least {open_text(least)}, and this is {open_text(amount)}; pay in more"
    ),
    "NotReady": lambda ready_s: f"this claim can't be final before {time_text(ready_s)} by the chain's clock; wait",
    "WithdrawalNotReady": lambda ready_s: (
        f"the channel's rest can't be withdrawn before {time_text(ready_s)} by the chain's clock; run this again then"
    ),
    "WithdrawalExpired": lambda expired_s: (
        f"the channel's rest could be withdrawn until {time_text(expired_s)}; `openledger-node channels close` "
        "requests it again"
    ),
    "WithdrawalPending": lambda channel_id, until_s: (
        f"the rest of channel {channel_id} is already requested; take it out with "
        f"`openledger-node channels withdraw`, or request it again after {time_text(until_s)}"
    ),
    "NobodyPaid": lambda: (
        "no account of these can be paid now: it has nothing, or less than 0.001 OPEN, or lets nobody else withdraw; "
        "`openledger-node contributor show ADDRESS` shows its balance"
    ),
    "BondLocked": lambda until_s: (
        f"the adapter's bond can't be taken back before {time_text(until_s)}; wait until then"
    ),
    "AdapterExists": lambda adapter_id: f"adapter {adapter_id} is already registered, and its entry can't be changed",
    "AdapterNotClaimable": lambda adapter_id, since_s: (
        f"adapter {adapter_id} was retired, and its bond is free since {time_text(since_s)}, so nothing more can be "
        "claimed for it; leave its receipts out"
    ),
    "RowsPublished": lambda rows_root, holder: (
        f"Datanet {holder} published the rows {rows_root} first, so they belong to it; publish rows of your own"
    ),
    "BadOwnerPpm": lambda ppm, most: (
        f"the owner of a Datanet gets at most {most / 10_000:g} % of what its rows earn, not {ppm / 10_000:g} %; "
        "choose a smaller --owner-share"
    ),
    "BadRules": lambda rules, known: (
        f"a Datanet can't allow the attribution rules {rules:#b}, only some of {known:#b}; choose suffix-v1, poa-v3 "
        "or both with --rule"
    ),
    "NeedsApprovals": lambda _, version, need, approvals: (
        f"version {version} needs the approval of {need} curators and has {approvals}; "
        "`openledger-node datanet propose` asks for them"
    ),
    "NotCurator": lambda _, signer: (
        f"{signer} is not a curator of this Datanet now, or has signed something else; ask the curators again"
    ),
    "DepositsAreStopped": lambda until_s: (
        f"the guardian has stopped new deposits until {time_text(until_s)}, and open channels work on; run this "
        "again then"
    ),
    "NotStopped": lambda: "new deposits are not stopped, so there is nothing to end",
    "ProposeOver": lambda start_s: (
        f"the payout list comes too late for what was claimed at {time_text(start_s)}, so its Datanets' part goes to "
        "the protocol; keep the node running after a claim"
    ),
    "NotOver": lambda start_s: (
        f"the node still has time for a list that it owes since {time_text(start_s)}; wait for the end of the window"
    ),
    "DrawStands": lambda draw_block: (
        f"block {draw_block:,} has drawn this claim's points, and they can still be shown; "
        "the node shows them by itself, or draws again when the draw has lapsed"
    ),
    "NoSeed": lambda draw_block: (
        f"block {draw_block:,}, which draws this claim's points, is not mined yet or is more than 256 blocks old; "
        "the node waits for it, or draws again, by itself"
        if draw_block
        else "this claim's points are not drawn yet; the node draws them by itself after the review period"
    ),
    "NoDrawsLeft": lambda most: (
        f"this claim's points were drawn again {most} times, and its node's share pays for no further draw; "
        "the claim ends without its payout list"
    ),
    "NotShown": lambda pot, account, offset: (
        f"this receipt does not show the drawn place {offset:,} of {account} in pot {pot}, so it is not of the list "
        "that was proposed; restore the newest copy of the ledger, which has the receipts of that list"
    ),
    "OutOfBounds": lambda what, value, least, most: (
        f"{what} is {value:,}, but must be between {least:,} and {most:,}; choose a value in between"
    ),
    "ShareStep": lambda what, value, before, step_max: (
        f"{what} can't move from {before:,} to {value:,} ppm at once; change it by at most {step_max:,} ppm, and "
        "again after 14 epochs"
    ),
    "SharesTooSoon": lambda from_epoch: (
        f"the shares can't change in epoch {from_epoch:,}, because they changed in one of the 14 epochs before it; "
        "wait until those have passed"
    ),
    "MinimumStep": lambda what, value, before: (
        f"{what} can't move from {open_text(before)} to {open_text(value)} at once; at most double or halve it, and "
        "again after 14 epochs"
    ),
    "MinimumTooSoon": lambda what, from_epoch: (
        f"{what} can't change in epoch {from_epoch:,}, because it changed in one of the 14 epochs before it; "
        "wait until those have passed"
    ),
    "ZeroAmount": lambda: "the amount is 0; use a larger amount",
    "UnknownAlgorithm": lambda algo_id: (
        f"attribution rule {algo_id} has no public definition, so it can't be chosen; choose 1, 4, 5 or 7"
    ),
    "SlashedLately": lambda node, until_s: (
        f"{node} was slashed lately, and has until {time_text(until_s)} to mend what was wrong; run this again then"
    ),
    "NothingToSlash": lambda node: f"{node} has no stake left to burn",
    "SlashTooLarge": lambda amount, most: (
        f"a slash takes up to the minimum stake, {open_text(most)}, and this is {open_text(amount)}; propose less"
    ),
    "NotGovernor": lambda caller: (
        f"{caller} can't do this: only a vote can; `openledger-node gov propose` begins one"
    ),
    "FixedTarget": lambda target: (
        f"a proposal can't call {target}: nobody can change the rules of voting; propose something else"
    ),
    "GovernorInsufficientProposerVotes": lambda proposer, votes, threshold: (
        f"{proposer} has {open_text(votes)} as votes, and a proposal needs {open_text(threshold)}; "
        "`openledger-node gov delegate` makes your own OPEN count"
    ),
    "GovernorAlreadyCastVote": lambda voter: f"{voter} has voted already, and a vote can't be changed",
    "GovernorNonexistentProposal": lambda _: (
        "there is no such proposal; `openledger-node gov list --all` shows every one"
    ),
    "GovernorUnexpectedProposalState": lambda _, current, __: (
        f"this proposal is {PROPOSAL_STATES[current]}, so that is not possible now; "
        "`openledger-node gov show` tells what comes next"
    ),
    "GovernorAlreadyQueuedProposal": lambda _: "this proposal is queued already; execute it when its wait is over",
    "TimelockUnexpectedOperationState": lambda _, __: (
        "what was decided still waits in the timelock, or was executed already; `openledger-node gov show` says when"
    ),
    "TimelockInsufficientDelay": lambda delay_s, least_s: (
        f"the timelock takes at least {least_s:,} s, not {delay_s:,} s"
    ),
}
"""By error name; each function takes the error's values in the contract's order."""
