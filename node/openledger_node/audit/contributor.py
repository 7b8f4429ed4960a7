"""Earnings of one account on a network, read from the chain alone: no node and no key takes part.

Payout lists, claim records and credits are events. Each list is compared with the hash that the contract stores, each
amount is computed again from the list, and the account's balance must be what its events sum to.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from openledger_protocol.constants import PPM
from openledger_protocol.eip712 import payments_domain
from openledger_protocol.errors import ProtocolError
from openledger_protocol.events import Event
from openledger_protocol.payouts import CreditRole, check_payouts
from openledger_protocol.primitives import (
    ZERO_DIGEST,
    AdapterId,
    Address,
    DatanetId,
    Digest,
    Wei,
)
from openledger_protocol.settlement import ClaimRecord, Payout, payouts_hash, record_hash

from ..chain.client import ChainClient
from ..datanets.about import about_from_metadata, licence_of
from ..errors import ChainError
from ..network_file import Network
from ..settlement.records import integer, payouts_of, record_of
from ..text import on_one_line
from .awards import AwardState, ContributorReport, OtherCredit, PayingDatanet, PayoutAward, Withdrawn
from .chain import PinnedChain, pin_chain
from .claims import claim_name
from .events import amount_of, text
from .shown import ShownAnswer, UnreadableShownError, shown_answers

READ = ("PaymentChannels", "AttributionRewards", "DatanetRegistry")
"""Contracts whose events name what an account is owed, and by which Datanet."""


def read_contributor(clients: Sequence[ChainClient], network: Network, account: Address) -> ContributorReport:
    """Read an account's earnings over one or more endpoints, which must all tell the same.

    Raises:
        ChainError: an endpoint does not answer, is on another chain, has other contracts, or tells another history.
        MalformedError: an answer is malformed.
    """
    number = min(client.head().number for client in clients)
    first, *others = (_read(client, network, account, number) for client in clients)
    for each in others:
        if each != first:
            raise ChainError(
                f"two endpoints tell different histories of {account} at block {number}: {_difference(first, each)}. "
                "One of them is wrong; ask a third one with another --rpc"
            )
    return replace(first, num_endpoints=len(clients))


def _difference(first: ContributorReport, second: ContributorReport) -> str:
    if first.block_hash != second.block_hash:
        return "that block has another hash"
    names = ("balance_wei", "awards", "others", "withdrawals", "faults")
    return "they differ in " + ", ".join(name for name in names if getattr(first, name) != getattr(second, name))


def _read(client: ChainClient, network: Network, account: Address, number: int) -> ContributorReport:
    chain = pin_chain(client, network, number)
    history = _History(chain, account)
    for event in chain.events(READ):
        history.read(event)
    awards = tuple(history.awards())
    others, withdrawals = tuple(history.others()), tuple(history.withdrawals())
    balance_wei = Wei(chain.ask("AttributionRewards", "balanceOf", account))
    report = ContributorReport(
        network=network,
        account=account,
        block=chain.block.number,
        block_hash=chain.block.hash,
        time_s=chain.block.timestamp_s,
        balance_wei=balance_wei,
        awards=awards,
        others=others,
        withdrawals=withdrawals,
        datanets={award.datanet_id: history.datanets.get(award.datanet_id, PayingDatanet()) for award in awards},
        faults=tuple(history.faults(awards, balance_wei)),
    )
    chain.check_still_there()
    return report


@dataclass(slots=True)
class _Claim:
    """The events of one claim."""

    record: ClaimRecord | None = None
    proposed: Event | None = None
    drawn: Event | None = None
    finalized: Event | None = None
    claimed: Event | None = None
    credits: list[Event] = field(default_factory=list)  # of the account

    @property
    def transactions(self) -> dict[str, Digest]:
        steps = {"claim": self.claimed, "propose": self.proposed, "draw": self.drawn, "finalize": self.finalized}
        return {step: event.transaction_hash for step, event in steps.items() if event}


class _History:
    """The events that name one account, claim by claim."""

    def __init__(self, chain: PinnedChain, account: Address) -> None:
        self._chain, self._account = chain, account
        self._claims: dict[tuple[Address, int], _Claim] = {}
        self._withdrawn: list[Event] = []
        self._paid_wei = 0
        self.datanets: dict[DatanetId, PayingDatanet] = {}
        self._windows = chain.ask("Params", "windows")
        self._domain = payments_domain(chain.network.chain_id, chain.contracts["PaymentChannels"])

    def read(self, event: Event) -> None:
        """Process the next event."""
        match event.name:
            case "Claimed":
                claim = self._claim_of(event)
                claim.claimed, claim.record = event, record_of(event)
            case "Proposed":
                self._claim_of(event).proposed = event
            case "Drawn":
                self._claim_of(event).drawn = event
            case "Finalized":
                self._claim_of(event).finalized = event
            case "Credited" if text(event, "account") == self._account:
                self._claim_of(event).credits.append(event)
            case "Withdrawn" if text(event, "account") == self._account:
                self._withdrawn.append(event)
            case "DatanetCreated":
                name, licence = on_one_line(text(event, "name")), licence_of(text(event, "licence"))
                self.datanets[DatanetId(text(event, "id"))] = PayingDatanet(name=name, licence=licence)
            case "DatanetDescribed":
                about = about_from_metadata(text(event, "metadata"))
                datanet_id = DatanetId(text(event, "id"))
                known = self.datanets.get(datanet_id, PayingDatanet())
                self.datanets[datanet_id] = replace(known, description=about.description if about else "")

    def _claim_of(self, event: Event) -> _Claim:
        return self._claims.setdefault((Address(text(event, "node")), integer(event, "seq")), _Claim())

    def _listed(self) -> Iterator[tuple[tuple[Address, int], _Claim, list[Payout]]]:
        """Claims in whose payout list the account stands."""
        for key, claim in self._claims.items():
            payouts = payouts_of(claim.proposed) if claim.proposed else []
            if any(payout.account == self._account for payout in payouts):
                yield key, claim, payouts

    def awards(self) -> Iterator[PayoutAward]:
        """The account's lines of all payout lists, the oldest claim first."""
        for _, claim, payouts in self._listed():
            if claim.record and claim.proposed:
                answers = self._answers(claim, claim.record)
                for payout in payouts:
                    # A pot that is missing or has no gross is of no honest chain, and its faults are named.
                    pot = claim.record.pots[payout.pot] if payout.pot < len(claim.record.pots) else None
                    if payout.account == self._account and pot and pot.gross_wei:
                        yield self._award(claim, claim.record, claim.proposed, payout, payouts, answers)

    def _award(
        self,
        claim: _Claim,
        record: ClaimRecord,
        proposed: Event,
        payout: Payout,
        payouts: Sequence[Payout],
        answers: Sequence[ShownAnswer] | None,
    ) -> PayoutAward:
        pot, ready_at_s = record.pots[payout.pot], integer(proposed, "readyAt")
        key = pot.adapter_id, pot.datanet_id
        return PayoutAward(
            node=record.node,
            seq=record.seq,
            epoch=record.epoch,
            pot=payout.pot,
            adapter_id=pot.adapter_id,
            datanet_id=pot.datanet_id,
            weight=payout.weight,
            pot_gross_wei=pot.gross_wei,
            pot_wei=pot.amount_wei,
            amount_wei=Wei(pot.amount_wei * payout.weight // (PPM * pot.gross_wei)),
            state=self._state(claim, ready_at_s),
            claimed_at_s=record.claimed_at_s,
            ready_at_s=ready_at_s,
            late_at_s=ready_at_s + self._windows["propose"],
            credited_at_s=self._chain.seconds_of(claim.finalized.block) if claim.finalized else None,
            list_hash=payouts_hash(payouts),
            payouts=tuple(payouts),
            transactions=claim.transactions,
            answers=None if answers is None else tuple(each for each in answers if self._is_named(each, *key)),
        )

    def _state(self, claim: _Claim, ready_at_s: int) -> AwardState:
        if claim.finalized:
            return AwardState.LAPSED if claim.finalized.arguments["late"] else AwardState.FINAL
        if claim.drawn:
            return AwardState.DRAWN
        return AwardState.IN_REVIEW if self._chain.block.timestamp_s < ready_at_s else AwardState.TO_BE_DRAWN

    def _is_named(self, answer: ShownAnswer, adapter_id: AdapterId, datanet_id: DatanetId) -> bool:
        return answer.receipt.adapter_id == adapter_id and any(
            share.account == self._account and share.datanet_id == datanet_id for share in answer.shares
        )

    def _answers(self, claim: _Claim, record: ClaimRecord) -> tuple[ShownAnswer, ...] | None:
        if claim.finalized is None or claim.finalized.arguments["late"] or claim.proposed is None:
            return None
        sent = self._chain.input_of(claim.finalized.transaction_hash)
        try:
            return shown_answers(sent, record, Digest(text(claim.proposed, "receiptsRoot")), self._domain)
        except UnreadableShownError:
            return None

    def others(self) -> Iterator[OtherCredit]:
        """Credits in other roles than that of a contributor."""
        for (node, seq), claim in self._claims.items():
            for event in claim.credits:
                if (role := CreditRole(integer(event, "role"))) != CreditRole.CONTRIBUTOR:
                    yield OtherCredit(
                        node=node,
                        seq=seq,
                        role=role,
                        amount_wei=Wei(amount_of(event)),
                        credited_at_s=self._chain.seconds_of(event.block),
                        transaction=event.transaction_hash,
                    )

    def withdrawals(self) -> Iterator[Withdrawn]:
        """The account's withdrawals, the oldest first."""
        for event in self._withdrawn:
            yield Withdrawn(
                to=Address(text(event, "to")),
                amount_wei=Wei(amount_of(event)),
                withdrawn_at_s=self._chain.seconds_of(event.block),
                transaction=event.transaction_hash,
            )

    # ---- checks

    def faults(self, awards: Sequence[PayoutAward], balance_wei: Wei) -> Iterator[str]:
        """Name each claim that can't be relied on, and a balance that its events do not give."""
        for key, claim, payouts in self._listed():
            name = claim_name(*key)
            yield from (f"{name}: {why}" for why in self._claim_faults(key, claim, payouts))
        final_wei: Counter[tuple[Address, int]] = Counter()
        for award in awards:
            if award.state is AwardState.FINAL:
                final_wei[award.node, award.seq] += award.amount_wei
        for key, claim in self._claims.items():
            yield from (f"{claim_name(*key)}: {why}" for why in _credit_faults(claim, final_wei[key]))
        credited = sum(amount_of(event) for claim in self._claims.values() for event in claim.credits)
        left = credited - sum(map(amount_of, self._withdrawn))
        if left != balance_wei:
            yield f"the balance is {balance_wei} wei, and credits less withdrawals are {left}: events are missing"

    def _claim_faults(self, key: tuple[Address, int], claim: _Claim, payouts: Sequence[Payout]) -> Iterator[str]:
        if claim.record is None:
            yield "its record is in no event, so what the list divides is not known"
            return
        stored = self._chain.ask("AttributionRewards", "proposalOf", *key)
        if stored["payoutsHash"] != payouts_hash(payouts):
            yield f"its payout list hashes to {payouts_hash(payouts)}, and the chain stores {stored['payoutsHash']}"
        kept = self._chain.ask("PaymentChannels", "claimOf", *key)
        # The contract forgets a record once the claim is closed.
        expected = ZERO_DIGEST if claim.finalized else record_hash(claim.record)
        if kept != expected:
            yield f"its record hashes to {expected}, and the chain stores {kept}"
        try:
            check_payouts(claim.record.pots, payouts)
        except ProtocolError as error:
            yield f"its payout list is one that the chain refuses: {error}"


def _credit_faults(claim: _Claim, expected: int) -> Iterator[str]:
    role = CreditRole.CONTRIBUTOR
    credited = sum(amount_of(event) for event in claim.credits if integer(event, "role") == role)
    if credited != expected:
        yield f"its list gives {expected} wei to this account, and {credited} were credited"
