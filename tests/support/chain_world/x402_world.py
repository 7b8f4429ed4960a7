"""A world in which x402's contracts exist: `x402_world` has channels of a payer with the node, and their vouchers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openledger_node.chain.clients.simulated import open_client
from openledger_node.chain.contracts import ContractInterface
from openledger_node.chain.dev import embedded
from openledger_node.config import Config
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import ChannelId, Salt, Wei
from openledger_protocol.signatures import sign_digest
from openledger_protocol.x402 import (
    CONTRACT,
    PERMIT2,
    PERMIT2_COLLECTOR,
    X402Channel,
    X402Voucher,
    x402_channel_id,
    x402_domain,
    x402_voucher_digest,
)

from ..signed import AUTHORIZER, AUTHORIZER_KEY, PAYER, PAYER_KEY
from .deployed import deploy_contract
from .world import World, open_world

ARTIFACT = json.loads((Path(__file__).parent / "artifacts" / "BatchSettlement.json").read_text())
INTERFACE = ContractInterface("BatchSettlement", ARTIFACT["abi"], bytes.fromhex(ARTIFACT["bytecode"][2:]))
DELAY_S = 900


@dataclass(frozen=True, kw_only=True)
class X402World:
    """A payer's x402 channels with the node of a world."""

    world: World

    def channel(self, number: int = 0, *, delay_s: int = DELAY_S) -> X402Channel:
        """A channel of the payer's; `number` tells it from others."""
        accounts = self.world.node.accounts
        return X402Channel(
            payer=PAYER,
            payer_authorizer=AUTHORIZER,
            receiver=accounts.wallet,
            receiver_authorizer=accounts.signer,
            token=self.world.chain.contracts["OpenToken"],
            withdraw_delay_s=delay_s,
            salt=Salt(f"0x{number:064x}"),
        )

    def id_of(self, channel: X402Channel) -> ChannelId:
        """The channel's id on this chain."""
        return x402_channel_id(x402_domain(self.world.chain.client.chain_id()), channel)

    def voucher(self, channel: X402Channel, ceiling_wei: int) -> X402Voucher:
        """A voucher that the payer has signed."""
        key, domain = self.id_of(channel), x402_domain(self.world.chain.client.chain_id())
        digest = x402_voucher_digest(domain, key, Wei(ceiling_wei))
        return X402Voucher(
            channel_id=key, max_claimable_wei=Wei(ceiling_wei), signature=sign_digest(AUTHORIZER_KEY, digest)
        )

    def deposit(self, channel: X402Channel, amount_wei: int) -> None:
        """Let the payer deposit."""
        assert self.world.chain.send("OpenToken", "approve", CONTRACT, amount_wei, key=PAYER_KEY).is_ok
        assert self.call("deposit", channel, amount_wei)

    def call(self, function: str, *arguments: object) -> bool:
        """Send a call of the payer's and mine it; True if the contract took it."""
        call = ContractCall(to=CONTRACT, data=INTERFACE.encode(function, *arguments))
        return self.world.chain.transact(call, key=PAYER_KEY).is_ok


@contextmanager
def open_x402_world(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, config: Config | None = None
) -> Iterator[X402World]:
    """A world on a chain with x402's contracts."""
    x402_genesis(monkeypatch)
    with open_world(root, open_client(), options={"config": config} if config else None) as world:
        yield X402World(world=world)


def x402_genesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every simulated chain have the code at x402's addresses since its first block."""
    client = open_client()
    code = client.code(deploy_contract(client, INTERFACE.encode_creation()))
    usual = embedded._Chain.from_genesis

    def with_code(database: Any, params: Any, accounts: dict[Any, Any]) -> Any:
        added = {
            bytes.fromhex(address[2:]): {"balance": 0, "nonce": 1, "code": code, "storage": {}}
            for address in (CONTRACT, PERMIT2_COLLECTOR, PERMIT2)
        }
        return usual(database, params, {**accounts, **added})

    monkeypatch.setattr(embedded._Chain, "from_genesis", with_code)
