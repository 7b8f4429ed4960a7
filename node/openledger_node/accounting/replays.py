"""Replays for commands and the page: other values over the last epochs, for everybody or for this node alone."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.governance import PARAM_SPECS, ParamSpec, changed_params, value_of

from ..audit.chain import PinnedChain, pin_chain
from ..audit.draws import caught_ppm, least_cost_ppm
from ..audit.minima import Minimum
from ..audit.replay import EPOCHS, Replay, moved, moved_roles, replay
from ..chain.param_words import param_text
from ..chain.vote_words import proposed_params
from ..errors import ChainError, NodeError
from ..settlement.session import NetworkSession
from ..text import counted
from .commands import Arguments
from .plain import plain_of
from .proposals import Proposals
from .proposing import typed_changes

OWN_DAYS: Final = 30
DAY_S: Final = 86_400
EPOCHS_MAX: Final = 100_000
TOP: Final = 10
"""As many nodes are listed; the sums are of all."""

FALSE_PPM: Final = 100_000
"""A false tenth of a payout list is the example for draws."""

HISTORY: Final = "History, not a forecast: with other values nodes, payers and owners would have acted otherwise."


def replay_to_plain(session: NetworkSession, given: Arguments) -> dict[str, Any]:
    """Replay `given["proposal"]` or `given["values"]` over the last epochs, for all accounts.

    Raises:
        NodeError: there is no such value or proposal, or no vote can set the values.
        MalformedError: an argument is invalid.
        ChainError: the chain can't be asked, or has paid something else than its rules give.
    """
    epochs = given.get("epochs") or EPOCHS
    if type(epochs) is not int or not 1 <= epochs <= EPOCHS_MAX:
        raise MalformedError(f"a replay is of 1 to {EPOCHS_MAX:,} epochs, not {epochs!r}")
    return _to_plain(find_replay(session, changes_of(session, given), epochs))


def effect_to_plain(session: NetworkSession, given: Arguments) -> dict[str, Any]:
    """Replay a proposal or values over this node's last 30 days: its earnings as node, staker, owner and contributor.

    Raises:
        NodeError, MalformedError: as `replay_to_plain`.
    """
    epochs = -(-OWN_DAYS * DAY_S // session.windows.epoch_s)
    found = find_replay(session, changes_of(session, given), epochs)
    node = session.accounts.wallet
    accounts = {node, session.deployment.payout_of(node)}
    was, would = found.was, found.would
    parts = {
        "node": (was.nodes[node], would.nodes[node]),
        "staker": (was.staked[node], would.staked[node]),
        "owner_and_contributor": (_sum_of(accounts, was.others), _sum_of(accounts, would.others)),
    }
    return {
        "node": node,
        "days": OWN_DAYS,
        "block": found.block,
        "parts": {name: _pair(*pair) for name, pair in parts.items()},
        **_pair(*(sum(pair) for pair in zip(*parts.values(), strict=True))),
        "says": HISTORY,
    }


def _sum_of(accounts: Iterable[str], sums: Mapping[str, int]) -> int:
    return sum(sums.get(account, 0) for account in accounts)


def find_replay(session: NetworkSession, changes: Mapping[str, int], epochs: int) -> Replay:
    """Replay other values over the events that this node has read, up to the last block that it has read.

    Raises:
        NodeError: no vote can set such values.
        ChainError: the chain can't be asked, or has paid something else than its rules give.
    """
    chain = chain_as_read(session)
    return replay(
        chain, session.ledger.events.in_blocks(session.network.deploy_block, chain.block.number), changes, epochs
    )


def chain_as_read(session: NetworkSession) -> PinnedChain:
    """The chain at the last block that this node has read.

    Raises:
        ChainError: the chain can't be asked, or took this block back.
    """
    read = session.ledger.events.last_blocks()
    chain = pin_chain(session.client, session.network, read[0].number if read else None)
    if read and read[0].hash != chain.block.hash:
        raise ChainError(f"the chain took back block {chain.block.number}, and this node reads it again: try again")
    return chain


def changes_of(session: NetworkSession, given: Arguments) -> dict[str, int]:
    """The values of a proposal that differ from those before it, or typed ones, by their field of `Params`.

    Raises:
        NodeError: there is no such value or proposal, or the proposal sets no values.
        MalformedError: a value can't be read.
    """
    if not given.get("proposal"):
        return typed_changes(given["values"])
    proposals = Proposals(session)
    proposed = proposals.find(str(given["proposal"]))
    calls, addresses = proposed.content.calls, session.deployment.addresses
    wanted = [params for call in calls if (params := proposed_params(call, addresses))]
    if not wanted:
        raise NodeError(f"proposal {proposed.number} sets no values, so there is nothing to replay")
    before = proposals.values_before(proposed.content)
    return {spec.field: value_of(wanted[-1], spec) for spec in changed_params(before, wanted[-1])}


# ---- for JSON


def _to_plain(found: Replay) -> dict[str, Any]:
    return {
        "network": found.network,
        "block": found.block,
        "first_epoch": found.first_epoch,
        "last_epoch": found.last_epoch,
        "changes": [_change(found, spec) for spec in PARAM_SPECS if spec.field in found.changes],
        "refusal": found.refusal,
        "num_claims": found.num_claims,
        "gross_wei": str(found.gross_wei),
        "roles": _rows("role", moved_roles(found)),
        "nodes": _nodes(found),
        "num_nodes": len({*found.was.nodes, *found.was.staked}),
        "datanets": _rows("datanet_id", moved(found.was.datanets, found.would.datanets)),
        "adapters": _rows("adapter_id", moved(found.was.adapters, found.would.adapters)),
        "draws": _draws(found),
        "minima": [_minimum(each) for each in found.minima],
        "refused": plain_of(found.refused),
        "waiting": plain_of(found.waiting),
        "left_out": [plain_of(each) for each in found.left_out],
        "says": _sentence(found),
    }


def _nodes(found: Replay) -> list[dict[str, Any]]:
    """The nodes that earned most, as nodes and as stakers."""
    pairs = moved(found.was.nodes + found.was.staked, found.would.nodes + found.would.staked)
    return [
        {
            "node": node,
            **_pair(*pair),
            "as_node": _pair(found.was.nodes[node], found.would.nodes[node]),
            "as_staker": _pair(found.was.staked[node], found.would.staked[node]),
        }
        for node, pair in list(pairs.items())[:TOP]
    ]


def _rows(name: str, pairs: Mapping[str, tuple[int, int]]) -> list[dict[str, str]]:
    return [{name: key, **_pair(*pair)} for key, pair in pairs.items()]


def _pair(was: int, would: int) -> dict[str, str]:
    return {"was_wei": str(was), "would_wei": str(would), "difference_wei": str(would - was)}


def _draws(found: Replay) -> dict[str, Any]:
    """The number of draws, and their deterrence: a lapsed draw's fee, and the least cost of a lie, for its gain."""
    draws = (found.newest.draws, found.changes.get("draws", found.newest.draws))
    return {
        "was": draws[0],
        "would": draws[1],
        "caught_ppm": [caught_ppm(each, FALSE_PPM) for each in draws],
        "least_cost_ppm": [least_cost_ppm(each) for each in draws],
        "lapse_fees": _pair(found.was.lapse_fees_wei, found.would.lapse_fees_wei),
    }


def _change(found: Replay, spec: ParamSpec) -> dict[str, str]:
    was, would = value_of(found.newest, spec), found.changes[spec.field]
    return {
        "key": spec.key,
        "was": str(was),
        "would": str(would),
        "text": f"{param_text(spec, was)} → {param_text(spec, would)}",
    }


def _minimum(minimum: Minimum) -> dict[str, Any]:
    return {
        "key": next(spec.key for spec in PARAM_SPECS if spec.field == minimum.field),
        "was_wei": str(minimum.was_wei),
        "would_wei": str(minimum.would_wei),
        "below": {name: str(wei) for name, wei in minimum.below.items()},
    }


def _sentence(found: Replay) -> str:
    """The limits of the sums, in one sentence."""
    missing = [
        f"{counted(number, 'claim')} {why}"
        for number, why in (
            (found.waiting.num_claims, "not final yet"),
            (len(found.left_out), "whose adapters' parts can't be read"),
        )
        if number
    ]
    return HISTORY + (f" It leaves out {' and '.join(missing)}." if missing else " It covers all claims.")
