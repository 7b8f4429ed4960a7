"""A payer's deposits go to the chain one after the other, and a channel is used once a block has its deposit."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.market_world.terms import GENERATION, NETWORK, word

from openledger_node.errors import ChainError
from openledger_node.ledger.ledger import open_ledger
from openledger_node.settlement.deposits import AWAY_AGAIN_S, CHANNELS_A_DAY_MAX, PAUSES_MAX, Deposits
from openledger_protocol.eip712 import payments_domain
from openledger_protocol.errors import PaymentRequiredError, UnavailableError
from openledger_protocol.generation import is_of_generation
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id
from openledger_protocol.primitives import BASE_ONLY, Address, ChannelId, Generation, Wei

OTHER = Generation(word("another generation"))
STOPPED_UNTIL_S = 1_700_000_000
"""The guardian stopped new deposits once, which is over."""

WALLET, NODE = Address("0x" + "11" * 20), Address("0x" + "22" * 20)


class Payer:
    """A session whose earlier deposit to another node is in a block after some looks, and its own after some more."""

    def __init__(self, looks: int = 0, own_looks: int = 0, *, is_refused: bool = False) -> None:
        self.looks = looks
        self.own_looks = own_looks
        self.is_refused = is_refused
        self.chain_s = STOPPED_UNTIL_S
        self.own: list[Any] = []  # its deposits in the outbox
        self.events: list[str] = []
        outbox = SimpleNamespace(unfinished=self.unfinished)
        self.ledger: Any = SimpleNamespace(
            channels=SimpleNamespace(of_payer=lambda wallet: [], ensure=lambda *_, **__: None), outbox=outbox
        )
        self.accounts = SimpleNamespace(wallet=WALLET, authorizer=WALLET)
        self.ring = SimpleNamespace(keys={WALLET: None}, signer=lambda wallet: None)
        self.network = SimpleNamespace(is_development=True, network=NETWORK)
        self.deployment = SimpleNamespace(
            payments=payments_domain(1, WALLET),
            token_balance=lambda wallet: 10**18,
            channel=self.channel,
            stopped_until_s=lambda: STOPPED_UNTIL_S,
        )
        self.client = SimpleNamespace(head=lambda: SimpleNamespace(timestamp_s=self.chain_s))
        self.overclaims = SimpleNamespace(check=lambda node: None)
        self.wrong_shares = SimpleNamespace(check=lambda node: None)
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
    Deposits(payer, deposit_wei=Wei(1), pause=payer.pause).channel_with(NODE, GENERATION)


def test_a_deposit_that_the_one_before_leaves_no_money_for_is_not_sent() -> None:
    payer = Payer(looks=2)
    payer.deployment.token_balance = lambda wallet: 1 if payer.looks > 0 else 0
    with pytest.raises(PaymentRequiredError, match=r"a deposit takes 1 wei, and .* has 0: send it more OPEN"):
        open_with(payer)
    assert payer.events == ["waited", "waited"]


def test_a_deposit_waits_a_while_until_the_one_before_is_in_a_block() -> None:
    """Both would sign the same nonce of a permit."""
    for looks, waits in ((2, 2), (10**9, PAUSES_MAX)):
        payer = Payer(looks=looks)
        open_with(payer)
        assert payer.events == ["waited"] * waits + ["sent"]


def test_a_channel_is_used_once_a_block_has_its_deposit_and_not_without() -> None:
    payer = Payer(own_looks=3)
    open_with(payer)
    assert payer.events == ["sent", "waited", "waited", "waited"]
    for is_refused, num_waits in ((True, 0), (False, PAUSES_MAX)):
        payer = Payer(own_looks=10**9, is_refused=is_refused)
        with pytest.raises(UnavailableError, match=f"no block has the deposit of the channel with {NODE} yet"):
            open_with(payer)
        assert payer.events == ["sent"] + ["waited"] * num_waits


# ---- which channel


@pytest.fixture
def payer(tmp_path: Path) -> Iterator[Payer]:
    """A payer with a ledger, whose deposits are in a block at once."""
    with closing(open_ledger(tmp_path / "payer.db")) as ledger:
        payer = Payer()
        payer.ledger = SimpleNamespace(channels=ledger.channels, outbox=payer.ledger.outbox, whole=ledger)
        payer.deployment.withdrawal = lambda _: SimpleNamespace(amount_wei=0)
        yield payer


def channel_for(payer: Any, generation: Generation) -> ChannelConfig:
    return Deposits(payer, deposit_wei=Wei(1), pause=payer.pause).channel_with(NODE, generation)


def test_a_payer_keeps_one_channel_with_a_node_until_the_generation_of_either_ledger_is_over(payer: Payer) -> None:
    first = channel_for(payer, GENERATION)
    assert channel_for(payer, GENERATION) == first
    second = channel_for(payer, OTHER)
    assert [is_of_generation(each.salt, NETWORK, OTHER) for each in (first, second)] == [False, True]
    assert channel_for(payer, OTHER) == second
    assert channel_for(payer, GENERATION) == first, "a node that lies about its generation gains nothing"
    payer.ledger.whole.generations.renew("a test", now_ns=1)  # the payer's own ledger was restored
    third = channel_for(payer, GENERATION)
    assert third not in (first, second)
    assert channel_for(payer, GENERATION) == third


def test_a_node_that_changes_its_generation_again_and_again_gets_few_deposits(payer: Payer) -> None:
    for number in range(CHANNELS_A_DAY_MAX):
        channel_for(payer, Generation(word(f"generation {number}")))
    with pytest.raises(UnavailableError, match=r"4 channels with .* were opened within a day"):
        channel_for(payer, OTHER)
    assert payer.events.count("sent") == CHANNELS_A_DAY_MAX


# ---- while new deposits are stopped


def test_no_deposit_is_tried_while_they_are_stopped_and_what_is_left_in_a_channel_is_spent(payer: Payer) -> None:
    deposits = Deposits(payer, deposit_wei=Wei(100), pause=payer.pause)  # type: ignore[arg-type]
    payer.chain_s = STOPPED_UNTIL_S - 1
    for _ in range(CHANNELS_A_DAY_MAX + 1):
        with pytest.raises(
            UnavailableError, match=r"stopped new deposits until 2023-11-14 .* no channel with this node"
        ):
            deposits.channel_with(NODE, GENERATION)
    payer.chain_s = STOPPED_UNTIL_S
    config = deposits.channel_with(NODE, GENERATION)  # the chain says that it holds 1, so that it is nearly used up
    payer.own.clear()
    payer.chain_s = STOPPED_UNTIL_S - 1
    assert deposits.channel_with(NODE, GENERATION) == config
    assert payer.events.count("sent") == 1
    payer.chain_s = STOPPED_UNTIL_S
    deposits.channel_with(NODE, GENERATION)
    assert payer.events.count("sent") == 2


# ---- while the chain is away


class Away:
    """A payer's deposits over a clock, and a chain that can be taken away once it has seen the payer's channel."""

    def __init__(self, payer: Payer, *, deposit_wei: int = 1) -> None:
        self.at_s = 0.0
        self.deposit_wei = deposit_wei
        self.silence: threading.Event | None = None  # the chain answers once it is set
        self.is_asked = threading.Event()  # while it is silent
        self.is_away = False
        self.num_asked = 0
        self.withdrawing: set[ChannelId] = set()
        payer.deployment.channel = self.channel
        payer.deployment.withdrawal = self.withdrawal
        self.deposits = Deposits(
            payer,  # type: ignore[arg-type]
            deposit_wei=Wei(deposit_wei),
            pause=payer.pause,
            now_s=lambda: self.at_s,
        )
        self.config = self.seen()

    def seen(self, node: Address = NODE) -> ChannelConfig:
        """A channel that is open, and was looked at again."""
        self.channel_with(node)
        return self.channel_with(node)

    def channel(self, _: ChannelId) -> Any:
        self._answer()
        return SimpleNamespace(deposit_wei=self.deposit_wei)

    def withdrawal(self, key: ChannelId) -> Any:
        self._answer()
        return SimpleNamespace(amount_wei=int(key in self.withdrawing))

    def channel_with(self, node: Address = NODE) -> ChannelConfig:
        return self.deposits.channel_with(node, GENERATION)

    def _answer(self) -> None:
        self.num_asked += 1
        if self.silence:
            self.is_asked.set()
            self.silence.wait()
        if self.is_away:
            raise ChainError("the endpoint does not answer")


def test_a_channel_is_used_as_it_was_last_seen_until_half_its_delay_is_over(payer: Payer) -> None:
    chain = Away(payer)
    chain.is_away = True
    assert chain.channel_with() == chain.config
    num_asked = chain.num_asked
    for later_s, num_more in ((AWAY_AGAIN_S - 1, 0), (AWAY_AGAIN_S, 1)):  # it is not asked again at once
        chain.at_s = later_s
        assert chain.channel_with() == chain.config
        assert chain.num_asked == num_asked + num_more
    chain.at_s = chain.config.withdraw_delay_s / 2 - 1
    assert chain.channel_with() == chain.config
    chain.at_s += 1
    with pytest.raises(ChainError):
        chain.channel_with()
    chain.is_away = False
    assert chain.channel_with() == chain.config


def test_a_channel_that_was_never_seen_is_not_used_while_the_chain_is_away(payer: Payer) -> None:
    chain = Away(payer)
    chain.is_away = True
    payer.deployment.token_balance = chain.channel  # a new channel needs the chain
    with pytest.raises(ChainError):
        chain.channel_with(Address("0x" + "33" * 20))
    with pytest.raises(ChainError):
        chain.deposits.channel_with(NODE, OTHER)


def test_a_nearly_used_channel_is_not_used_while_the_chain_is_away_so_that_its_requests_can_be_repeated(
    payer: Payer,
) -> None:
    """Its seller would refuse them for too little money, which no later try mends."""
    chain = Away(payer, deposit_wei=100)
    key = channel_id(chain.config, payer.deployment.payments)
    chain.is_away = True
    for ceiling, is_used in ((75, True), (76, False), (100, False)):
        voucher = Voucher(channel_id=key, adapter_id=BASE_ONLY, max_claimable_wei=Wei(ceiling))
        payer.ledger.channels.raise_ceiling(SignedVoucher(voucher=voucher, signature=b"signed"))
        if is_used:
            assert chain.channel_with() == chain.config
        else:
            with pytest.raises(ChainError):
                chain.channel_with()


def test_a_silent_endpoint_holds_up_one_stream_of_a_seller_and_none_of_another(payer: Payer) -> None:
    other = Address("0x" + "33" * 20)
    chain, silence = Away(payer), threading.Event()
    config_of_other = chain.seen(other)
    chain.is_away, chain.silence = True, silence
    with ThreadPoolExecutor() as threads:
        held_up = threads.submit(chain.channel_with)
        assert chain.is_asked.wait(10)
        chain.silence = None
        try:
            assert chain.channel_with() == chain.config
            assert chain.channel_with(other) == config_of_other
            assert not held_up.done()
        finally:
            silence.set()
        assert held_up.result() == chain.config


def test_a_channel_that_was_last_seen_with_a_withdrawal_is_not_used_while_the_chain_is_away(payer: Payer) -> None:
    chain = Away(payer)
    chain.withdrawing.add(channel_id(chain.config, payer.deployment.payments))
    assert chain.channel_with() != chain.config  # it is opened, and not seen yet
    chain.is_away = True
    with pytest.raises(ChainError):
        chain.channel_with()
