"""The way of one receipt's money in seven steps, each read from the ledger and the chain."""

from dataclasses import dataclass
from typing import Any, Literal

from openledger_protocol.division import Division
from openledger_protocol.events import Event
from openledger_protocol.openings import ClaimLine
from openledger_protocol.primitives import BASE_ONLY, Address, Digest, Wei

from ..datanets.about import datanet_name
from ..home import Home
from ..ledger.channels import Channel
from ..ledger.claims import Claim
from ..ledger.receipts import ReceiptRow
from ..settlement.claim_line import find_line
from ..settlement.records import integer
from ..settlement.session import NetworkSession
from ..text import counted, rfc3339
from .payees import division_of, names_of, people_of
from .plain import plain_of

ONE_OPEN = Wei(10**18)

StepName = Literal["deposit", "voucher", "receipt", "claim", "payout list", "draw", "withdrawal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyStep:
    """One step; the first that is not done holds up those after it."""

    step: StepName
    is_done: bool
    amount_wei: Wei | None
    who: str  # the party that signs it, or may
    account: Address | None
    says: str
    at: str | None = None  # RFC 3339: the time at which it was done, or can be
    hash: Digest | None = None
    is_on_chain: bool = True


def follow(home: Home, session: NetworkSession, row: ReceiptRow) -> dict[str, Any]:
    """Follow a receipt's money from the payer's deposit to the withdrawals.

    Raises:
        ChainError: the chain can't be asked.
    """
    division, one = division_of(session, row), division_of(session, row, ONE_OPEN)
    found = [datanet_name(session.ledger.events, part.datanet_id) for part in division.datanets]
    names = names_of(home, [name for name in found if name])
    steps = MoneyTrail(session, row, division).steps()
    undone = [place for place, step in enumerate(steps) if not step.is_done]
    return {
        "digest": row.digest,
        "amount_wei": str(row.receipt.amount_wei),
        "chain_time_s": session.client.head().timestamp_s,
        "steps": [
            {**plain_of(step), "state": _state(step, is_first=bool(undone) and place == undone[0])}
            for place, step in enumerate(steps)
        ],
        "as_paid": _plain_division(division, row, names),
        "of_one": _plain_division(one, row, names),
    }


def _state(step: MoneyStep, *, is_first: bool) -> str:
    return "done" if step.is_done else "now" if is_first else "next"


def _plain_division(division: Division, row: ReceiptRow, names: dict[Address, str]) -> dict[str, Any]:
    """Split an amount by recipient: `parts` sum to it; `people` and the dust sum to the contributors' part."""
    parts = [
        ("node", division.node_wei),
        ("adapter owner", division.adapter_owner_wei),
        ("Datanet contributors", division.contributors_wei),
        ("Datanet owners", division.datanet_owners_wei),
        ("protocol", division.protocol_wei),
    ]
    whole = division.amount_wei or 1
    return {
        "amount_wei": str(division.amount_wei),
        "parts": [
            {"to": to, "ppm": wei * 1_000_000 // whole, "amount_wei": str(wei)}
            for to, wei in parts
            if wei or to in ("node", "protocol")
        ],
        "people": [plain_of(person) for person in people_of(division, row.shares, names)],
        "dust_wei": str(sum(part.dust_wei for part in division.datanets)),
    }


class MoneyTrail:
    """Derives the seven steps of one receipt's money."""

    def __init__(self, session: NetworkSession, row: ReceiptRow, division: Division) -> None:
        self._session = session
        self._events = session.ledger.events
        self._row = row
        self._division = division
        channel = session.ledger.channels.find(row.receipt.channel_id)
        assert channel is not None, "a receipt is charged to a channel"
        self._channel: Channel = channel
        self._lane = channel.lane(row.receipt.adapter_id)
        self._node = channel.config.node
        self._claim: Claim | None = session.ledger.claims.find(row.claim_id) if row.claim_id is not None else None
        self._line = self._find_line()
        self._claimed, self._proposed, self._drawn, self._finalized = (
            self._last(name) if self._line else None for name in ("Claimed", "Proposed", "Drawn", "Finalized")
        )

    def steps(self) -> list[MoneyStep]:
        """All seven steps, in order."""
        return [
            self._deposit(),
            self._voucher(),
            self._receipt(),
            self._claim_step(),
            self._payout_list(),
            self._draw(),
            self._withdrawal(),
        ]

    def _deposit(self) -> MoneyStep:
        key = {"channelId": self._row.receipt.channel_id}
        paid_in = [*self._events.find("ChannelOpened", key), *self._events.find("ToppedUp", key)]
        balance = self._session.deployment.channel(self._row.receipt.channel_id)
        return MoneyStep(
            step="deposit",
            is_done=bool(paid_in) and balance.deposit_wei >= self._row.receipt.cumulative_wei,
            amount_wei=balance.deposit_wei,
            who="payer",
            account=self._channel.config.payer,
            says="opens a channel, and gets back what it does not spend",
            **self._place(paid_in[0] if paid_in else None),
        )

    def _voucher(self) -> MoneyStep:
        return MoneyStep(
            step="voucher",
            is_done=self._lane.ceiling_wei >= self._row.receipt.cumulative_wei,
            amount_wei=self._lane.ceiling_wei,
            who="payer",
            account=self._channel.config.authorizer,
            says="signs a ceiling for this adapter that only grows, one chunk ahead of the answer",
            is_on_chain=False,
        )

    def _receipt(self) -> MoneyStep:
        signed = "the payer countersigned" if self._row.countersignature else "the payer did not countersign"
        return MoneyStep(
            step="receipt",
            is_done=self._row.signature is not None,
            amount_wei=self._row.receipt.amount_wei,
            who="node",
            account=self._node,
            says=f"signs what was done; {signed}",
            at=rfc3339(self._row.receipt.issued_at_s),
            hash=self._row.digest,
            is_on_chain=False,
        )

    def _claim_step(self) -> MoneyStep:
        record, says = None, "brings its receipts to the chain once an epoch"
        if self._line:
            record, number = self._line.record, len(self._line.receipts)
            says = f"claim {record.seq} of epoch {record.epoch}, {counted(number, 'receipt')} in one transaction"
        return MoneyStep(
            step="claim",
            is_done=record is not None or self._is_claimed_elsewhere(),
            amount_wei=record.gross_wei if record else None,
            who="node",
            account=self._node,
            says=says,
            **self._place(self._claimed),
        )

    def _is_claimed_elsewhere(self) -> bool:
        """Check another node's receipt, of which we see only the amount that its lane has paid."""
        if self._node == self._session.accounts.wallet:
            return False
        receipt = self._row.receipt
        claimed = self._session.deployment.lane_claimed_wei(receipt.channel_id, receipt.adapter_id)
        return claimed >= self._row.receipt.cumulative_wei

    def _payout_list(self) -> MoneyStep:
        pots = self._line.record.pots if self._line else ()
        return MoneyStep(
            step="payout list",
            is_done=self._proposed is not None,
            amount_wei=Wei(sum(pot.amount_wei for pot in pots)) if self._line else None,
            who="node",
            account=self._node,
            says="names who is owed for the data; its own share is credited only when the list is final",
            **self._place(self._proposed),
        )

    def _draw(self) -> MoneyStep:
        ready_s = integer(self._proposed, "readyAt") if self._proposed else None
        last = self._finalized or self._drawn
        says = "draws lines of the list, and the node shows each by a receipt that its payer countersigned"
        if self._row.receipt.adapter_id == BASE_ONLY:
            says = "draws nothing of this answer, since the base alone gave it; the list is final all the same"
        return MoneyStep(
            step="draw",
            is_done=self._finalized is not None,
            amount_wei=None,
            who="chain",
            account=None,
            says=says,
            at=rfc3339(ready_s) if ready_s is not None and last is None else self._place(last)["at"],
            hash=last.transaction_hash if last else None,
        )

    def _withdrawal(self) -> MoneyStep:
        rewards = self._session.deployment.addresses["AttributionRewards"]
        taken = self._events.find("Withdrawn", {"account": self._node}, contract=rewards)
        after = [event for event in taken if self._finalized and _is_after(event, self._finalized)]
        return MoneyStep(
            step="withdrawal",
            is_done=bool(after),
            amount_wei=self._division.node_wei,
            who="each account",
            account=self._node,
            says="withdraws its balance at any time; nothing expires. Shown here: the node's part",
            **self._place(after[0] if after else None),
        )

    # ---- events

    def _find_line(self) -> ClaimLine | None:
        if self._claim is None:
            return None
        ledger = self._session.ledger
        return find_line(ledger, self._node, self._claim.seq, ledger.receipts.of_claim(self._claim.claim_id))

    def _last(self, name: str) -> Event | None:
        assert self._claim is not None, "only a claimed receipt has these events"
        found = self._events.find(name, {"node": self._node, "seq": self._claim.seq})
        return found[-1] if found else None

    def _place(self, event: Event | None) -> dict[str, Any]:
        """The time and transaction of an event."""
        if event is None:
            return {"at": None, "hash": None}
        block = self._session.client.block(event.block.number)
        return {"at": rfc3339(block.timestamp_s) if block else None, "hash": event.transaction_hash}


def _is_after(event: Event, other: Event) -> bool:
    return (event.block.number, event.log_index) > (other.block.number, other.log_index)
