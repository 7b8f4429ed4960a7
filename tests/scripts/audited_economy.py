"""An economy in which all happens that moves money: each way in, each way out, each thing left half done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from eth_hash.auto import keccak
from support.chain_world.contract_world import (
    ADAPTERS,
    DEPOSIT_WEI,
    OPEN,
    OWNER_KEYS,
    STRANGER_KEY,
    ContractWorld,
    open_contract_world,
)
from support.signed import (
    AUTHORIZER_KEY,
    NODE,
    NODE_KEY,
    PAYER_KEY,
    SIGNER_KEY,
    account,
    digest,
    plain_receipt,
)

from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.constants import BANK_KEY, DEVELOPMENT_PARAMS, DEVELOPMENT_VOTING, DEVELOPMENT_WINDOWS
from openledger_node.network_file import WRAPPED_VOTES, Network
from openledger_protocol.attribution import Share
from openledger_protocol.claims import SkipCode
from openledger_protocol.draws import drawn_points
from openledger_protocol.eip712 import hex_digest, staking_domain
from openledger_protocol.openings import ClaimLine, openings_of
from openledger_protocol.payments import ChannelConfig, Refund, receipt_digest, refund_digest
from openledger_protocol.payouts import ClaimedReceipt, PayoutList, payout_list, receipts_root
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_WEI, AdapterId, Address, Digest, Wei
from openledger_protocol.settlement import (
    ClaimRecord,
    Item,
    ReceiptOpening,
    signer_consent_digest,
    span_of,
)
from openledger_protocol.signatures import address_of, sign_digest

NODE2_KEY = b"\x31" * 32
NODE2 = address_of(NODE2_KEY)
HEIR_KEY = b"\x32" * 32
CONTRIBUTORS = [account(0x100), account(0x101)]
WINDOWS = DEVELOPMENT_WINDOWS

FOR = 1
WRAPPED_WEI = DEVELOPMENT_VOTING.quorum_floor_wei + 7
Call = tuple[str, str, tuple[object, ...]]  # a contract, its function, and arguments

proposal_numbers = count(1)


# ---- the economy


@dataclass(kw_only=True)
class Economy(ContractWorld):
    """A world with its sums, as far as a test wants to know them, and with the receipts behind each claim."""

    paid_in: int = 0
    taken_out: dict[Address, int] = field(default_factory=dict)  # of balances
    lines: dict[int, ClaimLine] = field(default_factory=dict)  # by the claim's number

    @property
    def client(self) -> Any:
        return self.chain.client

    @property
    def network(self) -> Network:
        return self.chain.network

    @property
    def treasury(self) -> Address:
        """The protocol's account, of which votes dispose."""
        return self.chain.contracts["Timelock"]

    @property
    def records(self) -> list[ClaimRecord]:
        return [line.record for line in self.lines.values()]

    def open(self, amount_wei: int = DEPOSIT_WEI, **changes: Any) -> ChannelConfig:
        self.paid_in += amount_wei
        return super().open(amount_wei, **changes)

    def owed(self, config: ChannelConfig, amounts: Sequence[int]) -> list[Item]:
        """The items of what a channel owes next; `amounts` by adapter."""
        lanes = self.channel(config).lanes
        return [
            self.item(amount, adapter=adapter, start=lanes[ADAPTERS[adapter]], config=config)
            for adapter, amount in enumerate(amounts)
            if amount
        ]

    def record(self, *items: Item, adapters: Sequence[AdapterId] = ADAPTERS) -> ClaimRecord:
        """Claim, and keep our own record of it with its receipts."""
        ordered = sorted(items, key=lambda item: item.adapter)
        record, codes, _ = self.claim(ordered, adapters)
        self.lines[record.seq] = self._line(record, ordered, codes)
        return record

    def _line(self, record: ClaimRecord, items: Sequence[Item], codes: Sequence[SkipCode | None]) -> ClaimLine:
        counted = [item.amount_wei if code is None else ZERO_WEI for item, code in zip(items, codes, strict=True)]
        return ClaimLine(
            record=record,
            spans=tuple(span_of(item, ADAPTERS, self.payments) for item in items),
            amounts_wei=tuple(counted),
            receipts=tuple(
                each for index, item in enumerate(items) if counted[index] for each in self._receipts(index, item)
            ),
        )

    def _receipts(self, index: int, item: Item) -> list[ClaimedReceipt]:
        """One that the payer countersigned, and one of a quarter of the money that it did not."""
        refused = item.amount_wei // 4
        amounts = [(item.amount_wei - refused, item.to_wei - refused), (refused, item.to_wei)]
        return [
            self._receipt(index, item, Wei(amount), Wei(total), is_countersigned=amount != refused)
            for amount, total in amounts
            if amount
        ]

    def _receipt(self, index: int, item: Item, amount: Wei, total: Wei, *, is_countersigned: bool) -> ClaimedReceipt:
        shares = self._shares(ADAPTERS[item.adapter])
        receipt = plain_receipt(
            amount,
            shares,
            channel_id=self.id_of(item.config),
            seq=total,
            issued_at_s=self.now_s,
            adapter_id=ADAPTERS[item.adapter],
            cumulative_wei=total,
        )
        hashed = receipt_digest(receipt, self.payments)
        countersignature = sign_digest(AUTHORIZER_KEY, hashed) if is_countersigned else None
        return ClaimedReceipt(
            item=index, digest=hex_digest(hashed), receipt=receipt, shares=shares, countersignature=countersignature
        )

    def _shares(self, adapter_id: AdapterId) -> tuple[Share, ...]:
        """No evidence, and two contributors, in thirds that leave dust."""
        datanets = self.registry[adapter_id].datanets if adapter_id in self.registry else ()
        thirds = [(ZERO_ADDRESS, 333_333), (CONTRIBUTORS[0], 333_333), (CONTRIBUTORS[1], 333_334)]
        return tuple(Share(datanet_id=id_, account=to, ppm=ppm) for id_, _ in datanets for to, ppm in thirds)

    # ---- lists

    def offer(self, record: ClaimRecord, *, unlisted: Sequence[int] = ()) -> PayoutList:
        """Propose the honest list of a claim, without these pots."""
        receipts = self.lines[record.seq].receipts
        listed = payout_list(record.pots, receipts)
        listed = replace(listed, payouts=tuple(each for each in listed.payouts if each.pot not in unlisted))
        self.propose(record, listed.payouts, root=receipts_root(receipts, listed.offsets))
        return listed

    def openings(self, record: ClaimRecord, listed: PayoutList, seed: Digest) -> list[ReceiptOpening]:
        """The receipts that show what a seed draws."""
        points = drawn_points(seed, record, listed.payouts, self.params.draws) if listed.payouts else []
        return openings_of(self.lines[record.seq], listed, points)

    def settle(self, record: ClaimRecord, *, unlisted: Sequence[int] = (), lapses: int = 0) -> None:
        """Propose, draw, show; before that, let so many draws lapse."""
        listed = self.offer(record, unlisted=unlisted)
        for _ in range(lapses):
            self.draw(record)
            self.lapse()
        self.finalize(record, listed.payouts, self.openings(record, listed, self.draw(record)))

    def lapse(self) -> None:
        """Let a draw lapse."""
        self.client.mine(WINDOWS.redraw_blocks + 1)

    # ---- others

    def take_out(self, key: bytes) -> None:
        """Pay out the key's balance; a stranger in the list has none and is skipped."""
        owner = address_of(key)
        self.taken_out[owner] = self.taken_out.get(owner, 0) + self.balance(owner)
        self.must("AttributionRewards", "withdraw", [account(0x7B), owner], key=key)

    def appoint(self, key: bytes) -> None:
        """Let a key sign for the node."""
        domain = staking_domain(self.client.chain_id(), self.chain.contracts["NodeStaking"])
        consent = sign_digest(key, signer_consent_digest(NODE, 2**63, domain))
        self.must("NodeStaking", "setSigner", address_of(key), 2**63, consent, key=NODE_KEY)

    # ---- votes

    def slash(self, amount_wei: int) -> None:
        """Burn stake of the second node."""
        self.decide(("NodeStaking", "slash", (NODE2, amount_wei, digest("e"))))

    def decide(self, *calls: Call) -> None:
        """Have these calls made by a vote of the bank, which has all; it takes 50 seconds of the chain."""
        self._get_votes()
        data = [load_contract(contract).encode(function, *arguments) for contract, function, arguments in calls]
        actions = [self.chain.contracts[contract] for contract, _, _ in calls], [0] * len(calls), data
        description = f"proposal {next(proposal_numbers)}"  # another one each time
        self._govern("propose", *actions, description)
        decided = (*actions, keccak(description.encode()))
        number = self.chain.read("OpenGovernor", "getProposalId", *decided)
        self.wait(DEVELOPMENT_VOTING.delay_s + 1)
        self._govern("castVote", number, FOR)
        self.wait(DEVELOPMENT_VOTING.period_s)
        self._govern("queue", *decided)
        self.wait(DEVELOPMENT_VOTING.timelock_s)
        self._govern("execute", *decided)

    def _govern(self, function: str, *arguments: object) -> None:
        self.must("OpenGovernor", function, *arguments, key=BANK_KEY)

    def _get_votes(self) -> None:
        """Let the bank vote with its tokens, or with wrapped ones if the token has no votes."""
        contracts, contract = self.chain.contracts, "OpenToken"
        if WRAPPED_VOTES in contracts:
            contract = WRAPPED_VOTES
            self.must("OpenToken", "approve", contracts[WRAPPED_VOTES], WRAPPED_WEI, key=BANK_KEY)
            self.must(WRAPPED_VOTES, "depositFor", self.chain.bank, WRAPPED_WEI, key=BANK_KEY)
        self.must(contract, "delegate", self.chain.bank, key=BANK_KEY)


def open_economy(**settings: Any) -> Economy:
    """A world of two nodes, in which votes rule and have the treasury; `settings` are those of its deployment."""
    session = open_contract_world(Economy, treasury=None, **settings)
    session.chain.fund(NODE2, open_wei=1_000 * OPEN)
    session.chain.fund(address_of(HEIR_KEY))
    session.must("OpenToken", "approve", session.chain.contracts["NodeStaking"], 2**256 - 1, key=NODE2_KEY)
    session.must("NodeStaking", "bond", 7 * OPEN + 13, key=NODE2_KEY)
    return session


def run_economy(**settings: Any) -> Economy:
    """Let it all happen."""
    session = open_economy(**settings)
    first, second, third = (session.open(OPEN + odd) for odd in (1, 22, 333))
    session.must("PaymentChannels", "topUp", first, 77, key=PAYER_KEY)
    session.paid_in += 77
    session.must("NodeStaking", "unbond", 3 * OPEN + 1, key=NODE2_KEY)
    _settle_all_ways(session, first, second)
    _settle_late(session, first, second)
    _slash(session)
    _give_back(session, second, third)
    _change_the_rules(session)
    session.must("ModelRegistry", "retire", ADAPTERS[3], key=OWNER_KEYS[2])
    session.settle(session.record(*session.owed(first, [3, 1_000_003, 777_777])))
    session.wait(WINDOWS.unbonding_s)
    _spend(session)
    _end(session)
    _leave_undone(session, first)
    return session


def _settle_all_ways(session: Economy, first: ChannelConfig, second: ChannelConfig) -> None:
    """A list without one of its pots, a claim of the base alone, a list drawn again, and one while deposits stop."""
    [wrong] = session.owed(second, [0, 5])
    both = [*session.owed(first, [10_007, 200_003, 30_011, 400_001]), *session.owed(second, [70_009, 0, 90_001])]
    session.settle(session.record(*both, replace(wrong, from_wei=Wei(1))), unlisted=[1])
    session.settle(session.record(*session.owed(second, [999_983])))
    session.settle(session.record(*session.owed(first, [0, 101_009])), lapses=2)
    session.must("PaymentChannels", "stopDeposits", 86_400, key=BANK_KEY)
    session.settle(session.record(*session.owed(second, [0, 300_007])))
    session.must("PaymentChannels", "resumeDeposits", key=BANK_KEY)


def _settle_late(session: Economy, first: ChannelConfig, second: ChannelConfig) -> None:
    """Claims that were not proposed in time, not drawn in time, and drawn but not shown in time."""
    owed = ((first, [0, 500_009, 1, 700_001]), (second, [0, 0, 80_021]), (first, [0, 60_089]))
    late = [session.record(*session.owed(*each)) for each in owed]
    session.offer(late[1])
    session.offer(late[2])
    session.draw(late[2])
    session.lapse()
    session.draw(late[2])
    session.wait(WINDOWS.window_s + WINDOWS.propose_s + 1)
    for record in late:
        session.must("AttributionRewards", "finalizeLate", record, key=STRANGER_KEY)


def _slash(session: Economy) -> None:
    """All that is bonded, the oldest request, and a part of the next."""
    session.must("NodeStaking", "bond", 100 * OPEN, key=NODE2_KEY)
    session.must("NodeStaking", "unbond", 50 * OPEN + 5, key=NODE2_KEY)
    session.slash(100 * OPEN)


def _spend(session: Economy) -> None:
    """A vote takes out the treasury's balance, and sends tokens on."""
    there, elsewhere = session.treasury, account(0x7A)
    credited = session.balance(there)
    session.decide(
        ("AttributionRewards", "withdraw", ([there],)),
        ("OpenToken", "transfer", (elsewhere, credited // 3)),
    )
    session.taken_out[there] = credited


def _give_back(session: Economy, second: ChannelConfig, third: ChannelConfig) -> None:
    """A withdrawal that is finished, and one that a refund makes smaller."""
    for config, amount in ((second, 5_000), (third, 10**17 + 3)):
        session.must("PaymentChannels", "startWithdraw", config, amount, key=PAYER_KEY)
    refund = Refund(channel_id=session.id_of(second), amount_wei=Wei(1_234), nonce=0)
    signature = sign_digest(SIGNER_KEY, refund_digest(refund, session.payments))
    session.must("PaymentChannels", "refund", second, 1_234, 0, signature, key=STRANGER_KEY)
    session.wait(50)
    session.must("PaymentChannels", "finishWithdraw", third, key=PAYER_KEY)


def _change_the_rules(session: Economy) -> None:
    """Other fees, and a Datanet of another owner."""
    session.params = replace(DEVELOPMENT_PARAMS, protocol_ppm=40_001, data_ppm=171_111)
    session.decide(("Params", "set", (session.params,)))
    [datanet] = [id_ for id_, terms in session.datanets.items() if terms.owner == address_of(OWNER_KEYS[0])]
    session.must("DatanetRegistry", "transferOwnership", datanet, address_of(HEIR_KEY), key=OWNER_KEYS[0])
    session.must("DatanetRegistry", "acceptOwnership", datanet, key=HEIR_KEY)
    session.datanets[datanet] = replace(session.datanets[datanet], owner=address_of(HEIR_KEY))
    session.wait(2 * WINDOWS.epoch_s)


def _end(session: Economy) -> None:
    """All waiting is over: stake and an adapter's bond come back, a balance is taken out."""
    owner = OWNER_KEYS[2]
    session.must("NodeStaking", "withdraw", key=NODE2_KEY)
    session.must("ModelRegistry", "reclaimBond", ADAPTERS[3], key=owner)
    session.must("AttributionRewards", "setPayout", account(0x78), True, key=owner)
    session.must("AttributionRewards", "setPayout", account(0x78), False, key=owner)
    session.take_out(owner)


def _leave_undone(session: Economy, first: ChannelConfig) -> None:
    """Claims that nobody has listed, drawn or shown yet, stake on its way, a withdrawal that waits."""
    session.must("NodeStaking", "bond", 110 * OPEN + 58, key=NODE2_KEY)
    for amount in (30 * OPEN + 7, 11, 20 * OPEN):
        session.must("NodeStaking", "unbond", amount, key=NODE2_KEY)
    session.slash(100 * OPEN)
    session.must("NodeStaking", "bond", OPEN, key=NODE2_KEY)
    session.must("NodeStaking", "unbond", 17, key=NODE2_KEY)
    offered = ADAPTERS[:3]  # the bond of the last one is free
    drawn, listed = (
        session.record(*session.owed(first, [0, amount]), adapters=offered) for amount in (20_011, 40_009)
    )
    session.offer(drawn)
    session.draw(drawn)
    session.offer(listed)
    session.record(*session.owed(first, [50_021, 0, 60_013]), adapters=offered)
    session.must("PaymentChannels", "startWithdraw", first, 4_321, key=PAYER_KEY)
    for key in (HEIR_KEY, STRANGER_KEY):
        session.appoint(key)
    session.must("NodeStaking", "revokeSigner", address_of(HEIR_KEY), key=NODE_KEY)


def plant(session: Economy, contract: str, slot: int, change: Callable[[int], int]) -> None:
    """Mine a block in which one word of storage is another, as no transaction could make it."""
    address = bytes.fromhex(session.chain.contracts[contract][2:])
    embedded = session.client._chain
    header = embedded._chain.create_header_from_parent(
        embedded.head, timestamp=embedded.head.timestamp + 1, gas_limit=embedded.head.gas_limit
    )
    vm: Any = embedded._chain.get_vm(header)
    vm.state.set_storage(address, slot, change(vm.state.get_storage(address, slot)))
    block = vm.mine_block(vm.set_block_transactions_and_withdrawals(vm.get_block(), header, [], [])).block
    embedded._chain.persist_block(block)
    embedded._store.commit()
