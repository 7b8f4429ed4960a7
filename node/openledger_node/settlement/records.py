"""Typed values read from contract events."""

from collections.abc import Mapping
from typing import Any

from openledger_protocol.events import Event
from openledger_protocol.primitives import AdapterId, Address, DatanetId, Digest, Wei
from openledger_protocol.settlement import ClaimRecord, Credit, Payout, Pot


def record_of(claimed: Event) -> ClaimRecord:
    """The claim record in a `Claimed` event; the contract stores only its hash."""
    fields: Any = claimed.arguments["record"]
    assert isinstance(fields, Mapping), "a struct is decoded to its fields"
    return ClaimRecord(
        node=Address(fields["node"]),
        seq=fields["seq"],
        epoch=fields["epoch"],
        claimed_at_s=fields["claimedAt"],
        claimed_block=fields["claimedBlock"],
        items_root=Digest(fields["itemsRoot"]),
        gross_wei=Wei(fields["gross"]),
        protocol_wei=Wei(fields["protocol"]),
        node_share_wei=Wei(fields["nodeShare"]),
        credits=tuple(
            Credit(account=Address(row["account"]), amount_wei=Wei(row["amount"])) for row in fields["credits"]
        ),
        pots=tuple(
            Pot(
                start_wei=Wei(row["start"]),
                adapter_id=AdapterId(row["adapterId"]),
                datanet_id=DatanetId(row["datanetId"]),
                gross_wei=Wei(row["gross"]),
                amount_wei=Wei(row["amount"]),
            )
            for row in fields["pots"]
        ),
    )


def payouts_of(proposed: Event) -> list[Payout]:
    """The payout list in a `Proposed` event."""
    rows: Any = proposed.arguments["payouts"]
    return [Payout(pot=row["pot"], account=Address(row["account"]), weight=row["weight"]) for row in rows]


def integer(event: Event, name: str) -> int:
    """Return an argument that is a number."""
    value = event.arguments[name]
    assert type(value) is int, f"{event.name}.{name} is a number in the ABI"
    return value
