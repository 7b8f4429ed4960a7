"""A payer's deposits go to the chain one after the other, and a channel is used once a block has its deposit."""

from types import SimpleNamespace
from typing import Any

import pytest

from openledger_node.settlement.deposits import PAUSES_MAX, Deposits
from openledger_protocol.eip712 import payments_domain
from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import Address, ChannelId, Wei

WALLET, NODE = Address("0x" + "11" * 20), Address("0x" + "22" * 20)


class Payer:
    """A session whose earlier deposit to another node is in a block after some looks, and its own after some more."""

    def __init__(self, looks: int = 0, own_looks: int = 0, *, is_refused: bool = False) -> None:
        self.looks = looks
        self.own_looks = own_looks
        self.is_refused = is_refused
        self.own: list[Any] = []  # its deposits in the outbox
        self.events: list[str] = []
        outbox = SimpleNamespace(unfinished=self.unfinished)
        self.ledger = SimpleNamespace(
            channels=SimpleNamespace(of_payer=lambda wallet: [], ensure=lambda *_, **__: None), outbox=outbox
        )
        self.accounts = SimpleNamespace(wallet=WALLET, authorizer=WALLET)
        self.ring = SimpleNamespace(keys={WALLET: None}, signer=lambda wallet: None)
        self.network = SimpleNamespace(is_development=True)
        self.deployment = SimpleNamespace(
            payments=payments_domain(1, WALLET), token_balance=lambda wallet: 10**18, channel=self.channel
        )
        self.treasury = SimpleNamespace(plan=lambda *_, key, **__: key)

    def unfinished(self) -> list[Any]:
        self.looks -= 1
        state = "sent" if self.looks >= 0 else "mined"
        return [SimpleNamespace(state=state, intent=SimpleNamespace(key="deposit:0xother:1")), *self.own]

    def channel(self, _: ChannelId) -> Any:
        self.own_looks -= 1
        return SimpleNamespace(deposit_wei=0 if self.own_looks >= 0 else 1)

    def send(self, key: str) -> None:
        self.events.append("sent")
        if not self.is_refused:
            self.own.append(SimpleNamespace(state="sent", intent=SimpleNamespace(key=key)))

    def pause(self, seconds: float) -> None:
        self.events.append("waited")


def open_with(payer: Any) -> None:
    Deposits(payer, deposit_wei=Wei(1), pause=payer.pause).channel_with(NODE)


def test_a_deposit_waits_until_the_one_before_is_in_a_block_since_both_would_sign_the_same_permit_nonce() -> None:
    payer = Payer(looks=2)
    open_with(payer)
    assert payer.events == ["waited", "waited", "sent"]


def test_a_deposit_does_not_wait_for_ever() -> None:
    payer = Payer(looks=10**9)
    open_with(payer)
    assert payer.events == ["waited"] * PAUSES_MAX + ["sent"]


def test_a_channel_is_used_once_a_block_has_its_deposit() -> None:
    payer = Payer(own_looks=3)
    open_with(payer)
    assert payer.events == ["sent", "waited", "waited", "waited"]


@pytest.mark.parametrize(("is_refused", "num_waits"), [(True, 0), (False, PAUSES_MAX)])
def test_a_channel_whose_deposit_does_not_arrive_is_not_used(is_refused: bool, num_waits: int) -> None:
    payer = Payer(own_looks=10**9, is_refused=is_refused)
    with pytest.raises(UnavailableError, match=f"no block has the deposit of the channel with {NODE} yet"):
        open_with(payer)
    assert payer.events == ["sent"] + ["waited"] * num_waits
