"""A payer's deposits go to the chain one after the other."""

from types import SimpleNamespace
from typing import Any

from openledger_node.settlement.deposits import PAUSES_MAX, Deposits
from openledger_protocol.eip712 import payments_domain
from openledger_protocol.primitives import Address, Wei

WALLET, NODE = Address("0x" + "11" * 20), Address("0x" + "22" * 20)


class Payer:
    """A session whose earlier deposit to another node is in a block after some looks at the outbox."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.events: list[str] = []
        outbox = SimpleNamespace(unfinished=self.unfinished)
        self.ledger = SimpleNamespace(
            channels=SimpleNamespace(of_payer=lambda wallet: [], ensure=lambda *_, **__: None), outbox=outbox
        )
        self.accounts = SimpleNamespace(wallet=WALLET, authorizer=WALLET)
        self.ring = SimpleNamespace(keys={WALLET: None}, signer=lambda wallet: None)
        self.network = SimpleNamespace(is_development=True)
        self.deployment = SimpleNamespace(payments=payments_domain(1, WALLET), token_balance=lambda wallet: 10**18)
        self.treasury = SimpleNamespace(plan=lambda *_, **__: ())

    def unfinished(self) -> list[Any]:
        self.looks -= 1
        state = "sent" if self.looks >= 0 else "mined"
        return [SimpleNamespace(state=state, intent=SimpleNamespace(key="deposit:0xother:1"))]

    def send(self, steps: object) -> None:
        self.events.append("sent")

    def pause(self, seconds: float) -> None:
        self.events.append("waited")


def test_a_deposit_waits_until_the_one_before_is_in_a_block_since_both_would_sign_the_same_permit_nonce() -> None:
    payer: Any = Payer(looks=2)
    Deposits(payer, deposit_wei=Wei(1), pause=payer.pause).channel_with(NODE)
    assert payer.events == ["waited", "waited", "sent"]


def test_a_deposit_does_not_wait_for_ever() -> None:
    payer: Any = Payer(looks=10**9)
    Deposits(payer, deposit_wei=Wei(1), pause=payer.pause).channel_with(NODE)
    assert payer.events == ["waited"] * PAUSES_MAX + ["sent"]
