"""An economy in which all happens that moves money: each way in, each way out, each thing left half done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth.abc import BlockHeaderAPI
from support.chain_world.contract_world import (
    ADAPTERS,
    DEPOSIT_WEI,
    OPEN,
    OWNER_KEYS,
    STRANGER_KEY,
    ContractWorld,
    open_contract_world,
)
from support.signed import NODE_KEY, PAYER_KEY, SIGNER_KEY, account

from openledger_node.chain.dev.constants import BANK_KEY, DEVELOPMENT_PARAMS, DEVELOPMENT_WINDOWS
from openledger_node.network_file import Network
from openledger_protocol.payments import ChannelConfig, Refund, refund_digest
from openledger_protocol.primitives import ZERO_ADDRESS, AdapterId, Address, Wei
from openledger_protocol.settlement import ClaimFor, ClaimRecord, Item, Payout, claim_for_digest
from openledger_protocol.signatures import address_of, sign_digest

NODE2_KEY = b"\x31" * 32
NODE2, PAYOUT2 = address_of(NODE2_KEY), account(0x61)
HEIR_KEY = b"\x32" * 32
CONTRIBUTORS = [account(0x100), account(0x101)]
WINDOWS = DEVELOPMENT_WINDOWS


@dataclass(kw_only=True)
class Economy(ContractWorld):
    """A world with its sums, as far as a test wants to know them."""

    paid_in: int = 0
    taken_out: dict[Address, int] = field(default_factory=dict)  # of balances
    records: list[ClaimRecord] = field(default_factory=list)

    @property
    def client(self) -> Any:
        return self.chain.client

    @property
    def network(self) -> Network:
        return self.chain.network

    def open(self, amount_wei: int = DEPOSIT_WEI, **changes: Any) -> ChannelConfig:
        self.paid_in += amount_wei
        return super().open(amount_wei, **changes)

    def owed(self, config: ChannelConfig, amounts: Sequence[int]) -> Item:
        """The item of what a channel owes next; `amounts` by adapter."""
        return self.item(amounts, start=self.channel(config).claimed_wei, config=config)

    def record(self, *items: Item, adapters: Sequence[AdapterId] = ADAPTERS) -> ClaimRecord:
        """Claim, and keep our own record of it."""
        record, _, _ = self.claim(items, adapters)
        self.records.append(record)
        return record

    def take_out(self, key: bytes, to: Address, amount: int) -> None:
        self.must("AttributionRewards", "withdraw", to, amount, key=key)
        self.taken_out[address_of(key)] = self.taken_out.get(address_of(key), 0) + amount


def payouts_of(record: ClaimRecord, *, unlisted: Sequence[int] = ()) -> list[Payout]:
    """Nobody's evidence, and two contributors, in thirds that leave dust."""
    return [
        Payout(pot=index, account=owner, weight=weight)
        for index, pot in enumerate(record.pots)
        if index not in unlisted
        for owner, weight in _weights(pot.gross_wei * 1_000_000)
    ]


def _weights(whole: int) -> list[tuple[Address, int]]:
    third = whole // 3
    return [(ZERO_ADDRESS, third), (CONTRIBUTORS[0], third), (CONTRIBUTORS[1], whole - 2 * third)]


def run_economy() -> Economy:
    """Let it all happen."""
    session = open_contract_world(Economy)
    bond_another(session)
    first, second, third = (session.open(OPEN + odd) for odd in (1, 22, 333))
    session.must("PaymentChannels", "topUp", first, 77, key=PAYER_KEY)
    session.paid_in += 77
    session.must("NodeStaking", "unbond", 3 * OPEN + 1, key=NODE2_KEY)
    _settle_all_ways(session, first, second)
    _earn_by_bonds(session)
    _give_back(session, second, third)
    _change_the_rules(session)
    session.must("ModelRegistry", "retire", ADAPTERS[3], key=OWNER_KEYS[2])
    _settle_by_new_rules(session, first)
    session.wait(WINDOWS.unbonding_s)
    _end(session)
    _leave_undone(session, first)
    return session


def bond_another(session: Economy) -> None:
    session.chain.fund(NODE2, open_wei=1_000 * OPEN)
    session.chain.fund(address_of(HEIR_KEY))
    session.must("OpenToken", "approve", session.chain.contracts["NodeStaking"], 2**256 - 1, key=NODE2_KEY)
    session.must("NodeStaking", "bond", 7 * OPEN + 13, key=NODE2_KEY)
    session.must("NodeStaking", "setPayout", PAYOUT2, key=NODE2_KEY)


def _settle_all_ways(session: Economy, first: ChannelConfig, second: ChannelConfig) -> None:
    """A list that names all but one pot, a claim of the base alone, one that is late, and one of nothing."""
    wrong = replace(session.owed(second, [5, 0, 0, 0]), from_wei=Wei(1))
    record = session.record(session.owed(first, [10_007, 200_003, 30_011, 400_001]), wrong)
    session.finalize(record, payouts_of(record, unlisted=[1]))
    session.finalize(session.record(session.owed(second, [999_983, 0, 0, 0])), [])
    late = session.record(session.owed(first, [0, 500_009, 1, 700_001]))
    session.wait(WINDOWS.propose_s + 1)
    session.must("AttributionRewards", "finalizeLate", late, key=STRANGER_KEY)
    session.finalize(session.record(wrong), [])


def _earn_by_bonds(session: Economy) -> None:
    """One node takes out what it has earned; the other one's is counted, for it bonds more."""
    session.must("NodeStaking", "claimStakerRewards", key=NODE2_KEY)
    session.must("NodeStaking", "bond", 5, key=NODE_KEY)


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
    session.params = replace(DEVELOPMENT_PARAMS, protocol_ppm=12_345, stakers_ppm=67_891, data_ppm=111_111)
    session.must("Params", "set", session.params, key=BANK_KEY)
    [datanet] = [id_ for id_, terms in session.datanets.items() if terms.owner == address_of(OWNER_KEYS[0])]
    session.must("DatanetRegistry", "transferOwnership", datanet, address_of(HEIR_KEY), key=OWNER_KEYS[0])
    session.must("DatanetRegistry", "acceptOwnership", datanet, key=HEIR_KEY)
    session.datanets[datanet] = replace(session.datanets[datanet], owner=address_of(HEIR_KEY))
    session.wait(2 * WINDOWS.epoch_s)


def _settle_by_new_rules(session: Economy, first: ChannelConfig) -> None:
    record = session.record(session.owed(first, [3, 1_000_003, 777_777, 312_345]))
    session.finalize(record, payouts_of(record))


def _end(session: Economy) -> None:
    """All waiting is over: stake and an adapter's bond come back, balances are taken out, one by relay."""
    owner = OWNER_KEYS[2]
    session.must("NodeStaking", "withdraw", key=NODE2_KEY)
    session.must("ModelRegistry", "reclaimBond", ADAPTERS[3], key=owner)
    session.take_out(owner, account(0x78), 100)
    claim = ClaimFor(
        account=address_of(owner), to=account(0x78), amount_wei=Wei(11), nonce=0, deadline_s=session.now_s + 100
    )
    signature = sign_digest(owner, claim_for_digest(claim, session.rewards))
    session.must("AttributionRewards", "withdrawFor", [claim], [signature], key=STRANGER_KEY)
    session.taken_out[address_of(owner)] += 11


def _leave_undone(session: Economy, first: ChannelConfig) -> None:
    """A claim that nobody has listed yet, a list that is not final, stake on its way, a withdrawal that waits."""
    record = session.record(session.owed(first, [0, 40_009, 0]), adapters=ADAPTERS[:3])
    session.propose(record, payouts_of(record))
    session.record(session.owed(first, [50_021, 0, 60_013]), adapters=ADAPTERS[:3])
    for amount in (OPEN + 7, 11):
        session.must("NodeStaking", "unbond", amount, key=NODE2_KEY)
    session.must("PaymentChannels", "startWithdraw", first, 4_321, key=PAYER_KEY)


def plant(session: Economy, contract: str, slot: int, change: Callable[[int], int]) -> BlockHeaderAPI:
    """Mine a block in which one word of storage is another, as no transaction could make it."""
    embedded = session.client._chain
    address = bytes.fromhex(session.chain.contracts[contract][2:])
    header = embedded._chain.create_header_from_parent(
        embedded.head, timestamp=embedded.head.timestamp + 1, gas_limit=embedded.head.gas_limit
    )
    vm: Any = embedded._chain.get_vm(header)
    vm.state.set_storage(address, slot, change(vm.state.get_storage(address, slot)))
    block = vm.mine_block(vm.set_block_transactions_and_withdrawals(vm.get_block(), header, [], [])).block
    embedded._chain.persist_block(block)
    embedded._store.commit()
    return block.header
