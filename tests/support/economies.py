"""One node's money on a chain with the real contracts, a payer, and receipts as they come."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from openledger_node.config import Config
from openledger_node.keystore import Key, key_from_private
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.receipts import Draft, ReceiptRow
from openledger_node.network_file import Network
from openledger_node.settlement.actions import OpenChannel
from openledger_node.settlement.open import prepare_development
from openledger_node.settlement.session import KeyRing, NetworkSession, NodeAccounts
from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.eip712 import digest_word, hex_digest
from openledger_protocol.payments import (
    ChannelConfig,
    Receipt,
    SignedVoucher,
    Voucher,
    Work,
    channel_id,
    receipt_digest,
    voucher_digest,
)
from openledger_protocol.primitives import (
    BASE_ONLY,
    ZERO_DIGEST,
    AdapterId,
    Address,
    ChannelId,
    RequestId,
    Salt,
    Wei,
)

from . import networks
from .chains import DeployedChain, deployed_chain

OPEN = 10**18
STEPS_MAX = 200


def key_of(name: str) -> Key:
    return key_from_private(sha256(name.encode()).digest())


@dataclass
class World:
    """A chain, a node's economy on it, and a payer's."""

    chain: DeployedChain
    network: Network
    node: NetworkSession
    payer: NetworkSession
    num_receipts: int = 0
    configs: dict[ChannelId, ChannelConfig] = field(default_factory=dict)

    def settle(self, seconds: int = 1) -> None:
        """Both sides look at the chain and act, then a block is mined."""
        self.node.step()
        self.payer.step()
        self.chain.client.advance(seconds)

    def run(self, is_reached: object, *, seconds: int = 1) -> None:
        """Settle until something is so."""
        for _ in range(STEPS_MAX):
            if is_reached():  # type: ignore[operator]  # a function without arguments
                return
            self.settle(seconds)
        raise AssertionError("it never came to be")

    def open_channel(self, amount_wei: int = 10 * OPEN, *, name: str = "channel") -> ChannelId:
        """Have the payer open a channel, and wait until it is final."""
        config = ChannelConfig(
            payer=self.payer.accounts.wallet,
            authorizer=self.payer.accounts.authorizer,
            node=self.node.accounts.wallet,
            withdraw_delay_s=40,
            salt=Salt("0x" + sha256(name.encode()).hexdigest()),
        )
        key = channel_id(config, self.node.deployment.payments)
        for side in (self.node, self.payer):
            side.ledger.channels.ensure(key, config, now_ns=1)
        sign = self.payer.ring.signer(config.payer)
        steps = self.payer.treasury.plan(
            [OpenChannel(config=config, amount_wei=Wei(amount_wei))], config.payer, sign, key=name
        )
        self.payer.treasury.submit(steps)
        self.configs[key] = config
        self.run(lambda: self.node.deployment.channel(key, block_number=self.final).deposit_wei == amount_wei)
        return key

    @property
    def final(self) -> int:
        return self.chain.client.finalized_number()

    def voucher(self, channel: ChannelId, ceiling_wei: int) -> SignedVoucher:
        voucher = Voucher(channel_id=channel, max_claimable_wei=Wei(ceiling_wei))
        digest = voucher_digest(voucher, self.node.deployment.payments)
        signature = self.payer.ring.sign(self.payer.accounts.authorizer, digest)
        return SignedVoucher(voucher=voucher, signature=signature)

    def earn(
        self,
        channel: ChannelId,
        amount_wei: int,
        *,
        adapter_id: AdapterId = BASE_ONLY,
        shares: tuple[Share, ...] = (),
    ) -> ReceiptRow:
        """A receipt as serving makes one: covered by a voucher, committed, signed."""
        self.num_receipts += 1
        name = f"request {self.num_receipts}"
        row = self.node.ledger.channels.find(channel)
        assert row is not None
        self.node.ledger.channels.raise_ceiling(self.voucher(channel, row.charged_wei + amount_wei))
        domain = self.node.deployment.payments

        def build(seq: int, cumulative_wei: Wei) -> Receipt:
            return Receipt(
                channel_id=channel,
                seq=seq,
                adapter_id=adapter_id,
                amount_wei=Wei(amount_wei),
                cumulative_wei=cumulative_wei,
                algo_id=1,
                flags=1,
                nonce_commit=ZERO_DIGEST,
                shares_hash=shares_hash(shares),
                work=work_of(name),
            )

        draft = Draft(
            build=build,
            digest=lambda receipt: hex_digest(receipt_digest(receipt, domain)),
            channel_id=channel,
            amount_wei=Wei(amount_wei),
            shares=shares,
            secured_wei=Wei(10**30),
        )
        kept = self.node.ledger.receipts.commit(draft, now_ns=self.num_receipts)
        signer = self.node.accounts.signer
        self.node.ledger.receipts.sign(kept.digest, self.node.ring.sign(signer, digest_word(kept.digest)))
        return kept

    def balance(self, account: Address) -> int:
        """Credited by the chain, to be withdrawn."""
        return self.node.deployment.rewards_balance(account)

    def close(self) -> None:
        for side in (self.node, self.payer):
            side.ledger.close()


def work_of(name: str) -> Work:
    return Work(
        request_id=RequestId("0x" + sha256(name.encode()).hexdigest()),
        profile_hash=ZERO_DIGEST,
        index_root=ZERO_DIGEST,
        tokens_in=1,
        tokens_out=1,
        prompt_commit=ZERO_DIGEST,
        output_commit=ZERO_DIGEST,
        retrieval_hash=ZERO_DIGEST,
        fingerprint=ZERO_DIGEST,
    )


def open_world(root: Path, client: Any = None) -> World:
    """A chain with a bonded node and a payer that holds OPEN; simulated, or the one behind a tamed client."""
    chain = deployed_chain(client)
    network = network_of(chain)
    world = World(
        chain=chain,
        network=network,
        node=open_side(root, chain, network, "node"),
        payer=open_side(root, chain, network, "payer"),
    )
    for side, open_wei in ((world.node, 1_000 * OPEN), (world.payer, 1_000 * OPEN)):
        chain.fund(side.accounts.wallet, coin_wei=OPEN, open_wei=open_wei)
        chain.fund(side.accounts.signer, coin_wei=OPEN)
    prepare_development(world.node)
    node = world.node
    world.run(lambda: node.deployment.is_signer(node.accounts.wallet, node.accounts.signer))
    return world


def open_side(root: Path, chain: DeployedChain, network: Network, name: str, **options: object) -> NetworkSession:
    """One party, over a ledger of its own."""
    ring = KeyRing()
    wallet, signer, authorizer = (key_of(f"{name} {role}") for role in ("wallet", "signer", "authorizer"))
    ring.add(wallet, signer, authorizer)
    ledger: Ledger = open_ledger(root / f"{name}.db")
    return NetworkSession(
        network=network,
        client=chain.client,
        ledger=ledger,
        accounts=NodeAccounts(wallet=wallet.address, signer=signer.address, authorizer=authorizer.address),
        ring=ring,
        config=Config(),
        **options,  # type: ignore[arg-type]  # a test's own words
    )


def network_of(chain: DeployedChain) -> Network:
    return networks.network_of(chain.client, chain.contracts, chain.deploy_block)
