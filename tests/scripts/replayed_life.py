"""The same life of a network over fourteen epochs, on a chain with any values: three nodes, adapters, Datanets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from audited_economy import CONTRIBUTORS, WINDOWS, Economy
from support.chain_world.contract_world import (
    ADAPTERS,
    OPEN,
    OWNER_KEYS,
    PAYOUT,
    PROTOCOL,
    STRANGER_KEY,
    TREASURY_1,
    TREASURY_2,
    open_contract_world,
)
from support.signed import NODE, NODE_KEY, account

from openledger_protocol.chain import TransactionReceipt
from openledger_protocol.claims import SkipCode, compute_claim, skip_codes
from openledger_protocol.epoch import Params, epoch_at
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import ZERO_DIGEST, AdapterId, Address, Digest, Wei
from openledger_protocol.settlement import ClaimRecord, EpochClaim, Item, Payout, items_hash, span_of
from openledger_protocol.signatures import address_of

HEIR_KEY = b"\x32" * 32
KEYS = [NODE_KEY, b"\x33" * 32, b"\x34" * 32]
NODES = [address_of(key) for key in KEYS]
PAYOUTS = [PAYOUT, account(0x62), NODES[2]]
"""The first node's is set by the world, the last one has none."""

EPOCHS = 14
CHANGE_EPOCH, HEIR_EPOCH, RETIRE_EPOCH = 4, 6, 11
PROTOCOL_PPM_LATER = 60_001
"""A vote changes the protocol's share in the middle of this life, on every chain."""


@dataclass(kw_only=True)
class Life(Economy):
    """An economy of several nodes, in which one after the other claims."""

    node: Address = NODE
    key: bytes = NODE_KEY
    channels: dict[Address, list[ChannelConfig]] = field(default_factory=dict)
    first_epoch: int = 0
    last_epoch: int = 0
    all_records: list[ClaimRecord] = field(default_factory=list)
    late: list[ClaimRecord] = field(default_factory=list)  # claims of which a deadline will be missed

    def act_as(self, place: int) -> list[ChannelConfig]:
        """Let a node claim, propose and draw next, and return its channels."""
        self.node, self.key = NODES[place], KEYS[place]
        return self.channels[self.node]

    def claim_of(self, items: Sequence[Item], adapters: Sequence[AdapterId] = ADAPTERS) -> EpochClaim:
        return EpochClaim(
            node=self.node,
            seq=self.chain.read("PaymentChannels", "nextSeq", self.node),
            epoch=epoch_at(self.now_s + 1, WINDOWS),
            items_hash=items_hash(span_of(item, adapters, self.payments) for item in items),
        )

    def claim(
        self, items: Sequence[Item], adapters: Sequence[AdapterId] = ADAPTERS
    ) -> tuple[ClaimRecord, list[SkipCode | None], TransactionReceipt]:
        balances = {self.id_of(item.config): self.channel(item.config, adapters) for item in items}
        codes = skip_codes(self.node, adapters, items, balances, self.payments)
        claim = self.claim_of(items, adapters)
        receipt = self.must("PaymentChannels", "claim", claim, adapters, items, b"", key=self.key)
        record = compute_claim(
            claim,
            adapters,
            items,
            domain=self.payments,
            codes=codes,
            claimed_at_s=self.now_s,
            claimed_block=self.chain.client.head().number,
            params=self.params_of(claim.epoch),
            registry=self.registry,
            datanets=self.datanets,
        )
        self.all_records.append(record)
        return record, codes, receipt

    def params_of(self, epoch: int) -> Params:
        """The values of an epoch, as the chain has them; only shares and draws matter here."""
        row = self.chain.read("Params", "valuesAt", epoch)
        return replace(
            self.params, protocol_ppm=row["protocolPpm"], stakers_ppm=row["stakersPpm"], data_ppm=row["dataPpm"]
        )

    def propose(
        self, record: ClaimRecord, payouts: Sequence[Payout], *, root: Digest = ZERO_DIGEST
    ) -> TransactionReceipt:
        return self.must("AttributionRewards", "propose", record, root, payouts, key=self.key)

    def draw(self, record: ClaimRecord) -> Digest:
        self.wait(WINDOWS.window_s)
        self.must("AttributionRewards", "draw", record.node, record.seq, key=self.key)
        self.wait(1)
        seed: Digest = self.client.head().hash
        self.wait(1)
        return seed

    def wait_for_epoch(self, number: int) -> None:
        """Wait for the beginning of this epoch of the life."""
        begin = self.first_epoch + number
        while epoch_at(self.now_s, WINDOWS) < begin:
            self.wait(min(WINDOWS.epoch_s, begin * WINDOWS.epoch_s - self.now_s))

    def close_late(self) -> None:
        """Let a stranger close the claims whose node has missed a deadline."""
        self.wait(WINDOWS.window_s + WINDOWS.propose_s + 1)
        for record in self.late:
            self.must("AttributionRewards", "finalizeLate", record, key=STRANGER_KEY)

    def tell(self) -> dict[str, int]:
        """What every account has been credited, and the stakers."""
        everybody = [*PAYOUTS, PROTOCOL, TREASURY_1, TREASURY_2, *CONTRIBUTORS]
        everybody += [address_of(key) for key in [*OWNER_KEYS, HEIR_KEY]]
        found = {name: self.balance(name) for name in everybody}
        return {name: wei for name, wei in found.items() if wei}


def live(params: Params) -> Life:
    """Let the life happen on a new chain that begins with these values."""
    life = open_contract_world(Life, params=params)
    _open_for_all(life)
    life.wait(WINDOWS.epoch_s)
    life.first_epoch = epoch_at(life.now_s, WINDOWS) + 1
    for epoch in range(EPOCHS):
        life.wait_for_epoch(epoch)
        _change(life, epoch)
        _work(life, epoch)
    life.last_epoch = epoch_at(life.now_s, WINDOWS)
    life.close_late()
    return life


def _open_for_all(life: Life) -> None:
    for place, key in enumerate(KEYS):
        if key != NODE_KEY:
            life.chain.fund(NODES[place], open_wei=1_000 * OPEN)
            life.must("OpenToken", "approve", life.chain.contracts["NodeStaking"], 2**256 - 1, key=key)
            life.must("NodeStaking", "bond", (150 + place) * OPEN + 13, key=key)
        life.channels[NODES[place]] = [life.open(node=NODES[place]) for _ in range(2)]
    life.must("NodeStaking", "setPayout", PAYOUTS[1], key=KEYS[1])
    life.chain.fund(address_of(HEIR_KEY))


def _change(life: Life, epoch: int) -> None:
    """Other fees, another owner of a Datanet, an adapter that retires."""
    if epoch == CHANGE_EPOCH:
        values = replace(life.params, protocol_ppm=PROTOCOL_PPM_LATER)
        life.decide(("Params", "set", (values,)))
    if epoch == HEIR_EPOCH:
        owner = address_of(OWNER_KEYS[0])
        [datanet] = [id_ for id_, terms in life.datanets.items() if terms.owner == owner]
        life.must("DatanetRegistry", "transferOwnership", datanet, address_of(HEIR_KEY), key=OWNER_KEYS[0])
        life.must("DatanetRegistry", "acceptOwnership", datanet, key=HEIR_KEY)
        life.datanets[datanet] = replace(life.datanets[datanet], owner=address_of(HEIR_KEY))
    if epoch == RETIRE_EPOCH:
        life.must("ModelRegistry", "retire", ADAPTERS[3], key=OWNER_KEYS[2])


def _work(life: Life, epoch: int) -> None:
    """One node claims in each epoch, in one of seven ways; odd amounts make every share leave dust."""
    odd = 10_007 + 1_009 * epoch
    first, second = life.act_as(epoch % len(NODES))
    match epoch % 7:
        case 0:  # all adapters, of both channels, and an item that the contract skips
            items = [*life.owed(first, [odd, 3 * odd, odd, 777]), *life.owed(second, [5 * odd, 0, odd, 31])]
            wrong = replace(life.owed(second, [0, 5])[0], from_wei=Wei(1))
            life.settle(life.record(*items, wrong), unlisted=[1])
        case 1:  # the base alone
            life.settle(life.record(*life.owed(second, [999_983 + odd])))
        case 2:  # a list that is drawn twice again
            life.settle(life.record(*life.owed(first, [0, 101_009 + odd])), lapses=2)
        case 3:  # nothing proposed in time
            life.late.append(life.record(*life.owed(first, [0, 7 * odd, odd, 3])))
        case 4:  # the base, and an adapter without a Datanet: no pots
            life.settle(life.record(*life.owed(first, [odd, 0, 0, 90_001])))
        case 5:  # proposed, and not shown in time
            life.late.append(life.record(*life.owed(second, [odd, 0, 9 * odd])))
            life.offer(life.late[-1])
        case _:  # everything once more
            life.settle(life.record(*life.owed(first, [odd, odd + 1, odd + 2, odd + 3])))
