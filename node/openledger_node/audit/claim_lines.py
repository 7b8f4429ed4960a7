"""The gross of each adapter in a claim: shares are rounded down adapter by adapter, so sums are not enough.

A record names the gross of adapters with pots. The base, and adapters without a Datanet, fill the gaps on the claim's
line. Where several of them fit into one gap, the items in the transaction of the claim tell them apart.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from openledger_protocol.claims import item_leaves
from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import ProtocolError
from openledger_protocol.events import Event
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, Salt, Wei
from openledger_protocol.settlement import ClaimRecord, Item, ItemSpan, span_of
from openledger_protocol.sum_tree import sum_root

from ..chain.contracts import load_contract
from .events import text
from .splits import WITHOUT_DATANETS, RegistryState

Lines = tuple[tuple[AdapterId, Wei], ...]
"""Adapters of a claim and their gross, in the order of its line; each has earned something."""

Lane = tuple[str, str]
"""A channel and an adapter."""

END = 2**256
"""A place after all adapters."""


class OpaqueClaimError(Exception):
    """The chain does not tell how much each adapter earned in a claim."""


def lines_of(record: ClaimRecord, registry: RegistryState, read_items: Callable[[], Lines]) -> Lines:
    """Find the gross of each adapter in a claim; `read_items` is called if its record does not tell it.

    Raises:
        OpaqueClaimError: as `read_items` does.
    """
    bare = sorted(int(id_, 16) for id_, key in registry.lane_keys().items() if key == WITHOUT_DATANETS)
    lines: list[tuple[AdapterId, Wei]] = []
    before, end = -1, 0
    for adapter, start, gross in [*_with_pots(record), (END, record.gross_wei, 0)]:
        if start > end:
            between = [each for each in bare if before < each < adapter]
            if len(between) != 1:
                return read_items()
            lines.append((_adapter_id(between[0]), Wei(start - end)))
        if gross:
            lines.append((_adapter_id(adapter), Wei(gross)))
        before, end = adapter, start + gross
    return tuple(lines)


def _with_pots(record: ClaimRecord) -> Iterator[tuple[int, int, int]]:
    """Adapters with pots, as numbers, with their places and gross."""
    for adapter_id, pots in groupby(record.pots, key=lambda pot: pot.adapter_id):
        first = next(pots)
        yield int(adapter_id, 16), first.start_wei, first.gross_wei


def _adapter_id(number: int) -> AdapterId:
    return AdapterId(f"0x{number:064x}")


# ---- items, from the transaction


def lines_of_input(sent: bytes | None, record: ClaimRecord, skipped: Sequence[Event], domain: Domain) -> Lines:
    """Find the gross of each adapter from the data that made a claim, and the items that the contract skipped.

    The record's root of items proves them, so an endpoint can't invent others.

    Raises:
        OpaqueClaimError: the data is not here, or is not that of this claim.
    """
    decoded = load_contract("PaymentChannels").decode_call(sent) if sent else None
    if decoded is None or decoded[0] != "claim":
        raise OpaqueClaimError("its transaction is not here, or is no plain claim that says what each adapter earned")
    try:
        spans = _spans(decoded[1], domain)
        lanes = [(text(event, "channelId"), text(event, "adapterId")) for event in skipped]
        for amounts in (_counted(spans, lanes), _counted(spans[::-1], lanes)[::-1]):
            if sum_root(item_leaves(spans, amounts)) == record.items_root:
                return _sums(spans, amounts)
    except (IndexError, ProtocolError) as error:
        raise OpaqueClaimError(f"the data of its transaction is no claim: {error}") from error
    raise OpaqueClaimError(
        "the items in its transaction are not those of its record, or can't be told from skipped ones"
    )


def _spans(given: Any, domain: Domain) -> list[ItemSpan]:
    return [span_of(_item(row), given["adapters"], domain) for row in given["items"]]


def _counted(spans: Iterable[ItemSpan], skipped: Sequence[Lane]) -> list[Wei]:
    """The amounts of items, zero for skipped ones: of several items of one lane, the first are skipped."""
    left = Counter(skipped)
    amounts = []
    for span in spans:
        lane = (span.channel_id, span.adapter_id)
        left[lane] -= 1
        amounts.append(Wei(max(0, span.to_wei - span.from_wei)) if left[lane] < 0 else ZERO_WEI)
    return amounts


def _sums(spans: Sequence[ItemSpan], amounts: Sequence[Wei]) -> Lines:
    sums: Counter[AdapterId] = Counter()
    for span, amount in zip(spans, amounts, strict=True):
        sums[span.adapter_id] += amount
    return tuple((adapter_id, Wei(gross)) for adapter_id, gross in sums.items() if gross)


def _item(row: Any) -> Item:
    config = row["config"]
    return Item(
        config=ChannelConfig(
            payer=Address(config["payer"]),
            authorizer=Address(config["authorizer"]),
            node=Address(config["node"]),
            withdraw_delay_s=config["withdrawDelay"],
            salt=Salt(config["salt"]),
        ),
        adapter=row["adapter"],
        max_claimable_wei=Wei(row["maxClaimable"]),
        from_wei=Wei(row["from"]),
        to_wei=Wei(row["to"]),
        signature=bytes.fromhex(row["signature"][2:]),
    )
