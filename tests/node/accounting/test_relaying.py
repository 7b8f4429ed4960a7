"""A contributor without gas: signed by the contributor, sent by a node, both paid what was stated first."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.world import World
from support.signed import NODE_KEY, PAYER_KEY, account

from openledger_node.accounting.earnings import EarningsReports
from openledger_node.accounting.publishing import Publication
from openledger_node.accounting.queries import open_queries
from openledger_node.accounting.relaying import RELAY_GAS, relay_withdrawal
from openledger_node.accounting.transactions import TransactionPlanner
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.keystore import WALLET, ensure_node_password, import_account, key_from_private
from openledger_node.settlement.actions import SetPayout
from openledger_node.settlement.claimer import COIN_WEI
from openledger_node.settlement.relay_actions import RelayWithdrawal, relay_call
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.errors import BadSignatureError, MalformedError
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.relayed import RelayedWithdrawal, sign_withdrawal, withdrawal_to_json
from openledger_protocol.signatures import address_of, sign_digest

KEY = b"\x41" * 32
ADA = address_of(KEY)
"""Has earned, and has no gas."""

TO = account(0x66)
FEE = Wei(OPEN // 100)


@pytest.fixture
def earned(world: World) -> World:
    """A world in which Ada is credited with what the node has earned."""
    channel = world.open_channel()
    world.act(SetPayout(payout=ADA))
    world.settle()
    world.earn(channel, OPEN)
    world.run(lambda: world.balance(ADA))
    return world


@pytest.fixture
def planner(tmp_path: Path, earned: World) -> TransactionPlanner:
    return planner_of(earned.node, NODE_KEY, tmp_path / "node")


def planner_of(session: NetworkSession, key: bytes, folder: Path) -> TransactionPlanner:
    """The planner of a session whose wallet is in a data directory of its own."""
    keys = Home(folder).network_keys(session.network.network)
    keys.mkdir(mode=0o700, parents=True)
    import_account(keys, WALLET, key_from_private(key), ensure_node_password(keys))
    return TransactionPlanner(Home(folder), session)


def signed(world: World, **changes: Any) -> RelayedWithdrawal:
    terms: dict[str, Any] = {
        "network": world.node.network.network,
        "domain": world.rewards,
        "account": ADA,
        "to": TO,
        "amount_wei": Wei(world.balance(ADA) - FEE),
        "nonce": 0,
        "deadline_s": world.now_s + 600,
        "fee_wei": FEE,
        "relays": (world.node.accounts.wallet, world.payer.accounts.wallet),
        "sign": lambda digest: sign_digest(KEY, digest),
    }
    return sign_withdrawal(**{**terms, **changes})


def plan(planner: TransactionPlanner, withdrawal: RelayedWithdrawal) -> dict[str, Any]:
    return planner.plan("rewards relay", {"withdrawal": withdrawal_to_json(withdrawal)}, None)


def tokens(world: World, who: Address) -> int:
    return world.node.deployment.token_balance(who)


def test_both_are_paid_what_was_signed(earned: World, planner: TransactionPlanner) -> None:
    credited, relay = earned.balance(ADA), earned.node.accounts.wallet
    before = tokens(earned, relay)
    shown = plan(planner, signed(earned))
    assert any("earns" in line for line in shown["details"])
    assert int(shown["wallet_after_wei"]) == before + FEE
    planner.act(shown["plan"])
    earned.run(lambda: tokens(earned, TO))
    assert tokens(earned, TO) == credited - FEE
    assert tokens(earned, relay) == before + FEE
    assert earned.balance(ADA) == 0
    assert earned.node.deployment.rewards_nonce(ADA) == 2


def test_the_gas_of_a_quote_is_enough(earned: World) -> None:
    call = relay_call(
        RelayWithdrawal(withdrawal=signed(earned), relay=earned.node.accounts.wallet), earned.node.deployment
    )[2]
    gas = earned.node.client.estimate_gas(call, sender=earned.node.accounts.wallet)
    assert gas < RELAY_GAS


def test_a_node_that_was_not_named_earns_nothing_and_is_told(earned: World, planner: TransactionPlanner) -> None:
    with pytest.raises(NodeError, match="would earn nothing"):
        plan(planner, signed(earned, relays=(account(0x99),)))


def test_of_several_named_nodes_one_is_paid(earned: World, planner: TransactionPlanner, tmp_path: Path) -> None:
    withdrawal = signed(earned)
    planner.act(plan(planner, withdrawal)["plan"])
    earned.run(lambda: tokens(earned, TO))
    other = planner_of(earned.payer, PAYER_KEY, tmp_path / "payer")
    with pytest.raises(NodeError, match="next one is 2"):
        plan(other, withdrawal)
    # Sent past the checks, its fee is skipped by the contract: the nonce is used.
    before = tokens(earned, earned.payer.accounts.wallet)
    earned.act(RelayWithdrawal(withdrawal=withdrawal, relay=earned.payer.accounts.wallet), by=earned.payer)
    earned.settle()
    earned.settle()
    assert tokens(earned, earned.payer.accounts.wallet) == before


def test_the_fee_alone_is_not_paid(earned: World) -> None:
    """A relay that sends the fee without the payout has only spent gas."""
    withdrawal = signed(earned)
    fee = withdrawal.fee_for(earned.node.accounts.wallet)
    assert fee is not None
    credited = earned.balance(ADA)
    assert earned.chain.send("AttributionRewards", "withdrawFor", [fee[0]], [fee[1]]).is_ok
    assert earned.balance(ADA) == credited
    assert earned.node.deployment.rewards_nonce(ADA) == 0


def test_a_payout_that_a_stranger_sent_first_still_pays_the_fee(earned: World) -> None:
    withdrawal, relay = signed(earned), earned.node.accounts.wallet
    before = tokens(earned, relay)
    assert earned.chain.send("AttributionRewards", "withdrawFor", [withdrawal.payout], [withdrawal.signature]).is_ok
    earned.act(RelayWithdrawal(withdrawal=withdrawal, relay=relay))
    earned.run(lambda: tokens(earned, relay) == before + FEE)
    assert earned.balance(ADA) == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"network": "harbour-1"}, "a withdrawal on harbour-1"),
        ({"deadline_s": 5}, "which is over or too soon"),
        ({"nonce": 1}, "its nonce is 1, and the account's next one is 0"),
        ({"amount_wei": Wei(OPEN)}, "ask for a withdrawal of less"),
    ],
)
def test_what_the_contract_would_skip_is_not_sent(
    earned: World, planner: TransactionPlanner, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(NodeError, match=why):
        plan(planner, signed(earned, **changes))


def test_what_another_key_has_signed_is_not_sent(earned: World, planner: TransactionPlanner) -> None:
    with pytest.raises(BadSignatureError):
        plan(planner, signed(earned, sign=lambda digest: sign_digest(b"\x42" * 32, digest)))


def test_what_is_no_withdrawal_is_not_sent(planner: TransactionPlanner) -> None:
    with pytest.raises(MalformedError, match="not a signed withdrawal"):
        planner.plan("rewards relay", {"withdrawal": {"schema": "x"}}, None)


def test_a_withdrawal_that_is_under_way_is_not_sent_twice(earned: World, planner: TransactionPlanner) -> None:
    withdrawal = signed(earned)
    planner.act(plan(planner, withdrawal)["plan"])
    again = plan(planner, withdrawal)
    assert "sent already" in again["note"]
    assert again["steps"] == []


def test_of_two_withdrawals_with_one_nonce_the_second_is_not_sent(earned: World, planner: TransactionPlanner) -> None:
    first, second = (plan(planner, signed(earned, amount_wei=Wei(part * FEE))) for part in (1, 2))
    planner.act(first["plan"])
    with pytest.raises(NodeError, match="with nonce 0 is sent already and waits to be mined"):
        planner.act(second["plan"])
    with pytest.raises(NodeError, match="with nonce 0 is sent already and waits to be mined"):
        plan(planner, signed(earned, amount_wei=Wei(3 * FEE)))
    earned.run(lambda: tokens(earned, TO))
    assert tokens(earned, TO) == FEE
    assert len([each for each in earned.node.ledger.outbox.newest(limit=9) if each.intent.kind == "relay"]) == 1


# ---- the fee against the gas, on a network whose coins cost something


@pytest.fixture
def real(earned: World) -> World:
    """The same world, as if its coins were worth what two OPEN are."""
    session = earned.node
    session.network = replace(session.network, network="harbour-1")
    claimer = session.settlement.claimer
    claimer.policy = replace(claimer.policy, coin_price_wei=Wei(2 * COIN_WEI))
    return earned


def test_a_fee_below_the_gas_is_refused(real: World, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"its fee is 0\.000000000000000001 OPEN, and the gas costs .* OPEN now"):
        plan_directly(real, signed(real, fee_wei=Wei(1)), tmp_path)


def test_a_quoted_fee_is_accepted(real: World, tmp_path: Path) -> None:
    queries = open_queries(Home(tmp_path), real.node, registry=None, tokenizer=None)  # type: ignore[arg-type]
    quote = queries.answer("relay_quote", {})
    fees = real.node.client.fees()
    assert int(quote["fee_wei"]) == 2 * RELAY_GAS * (fees.base_wei + fees.tip_wei)
    assert quote["relay"] == real.node.accounts.wallet
    fee = Wei(int(quote["fee_wei"]))
    amount = Wei(real.balance(ADA) - fee)
    assert len(plan_directly(real, signed(real, fee_wei=fee, amount_wei=amount), tmp_path).actions) == 1


def plan_directly(world: World, withdrawal: RelayedWithdrawal, folder: Path) -> Publication:
    """The plan without a key: on such a network only a person's password opens it."""
    arguments = {"withdrawal": withdrawal_to_json(withdrawal)}
    return relay_withdrawal(Home(folder), world.node, world.node.accounts.wallet, arguments)


def test_a_node_that_does_not_know_the_price_of_gas_quotes_nothing(real: World, tmp_path: Path) -> None:
    claimer = real.node.settlement.claimer
    claimer.policy = replace(claimer.policy, coin_price_wei=Wei(0))
    queries = open_queries(Home(tmp_path), real.node, registry=None, tokenizer=None)  # type: ignore[arg-type]
    with pytest.raises(NodeError, match=r"settlement\.coin_price_wei"):
        queries.answer("relay_quote", {})


# ---- in the books of both


def books(session: NetworkSession, world: World, **given: Any) -> dict[str, Any]:
    return EarningsReports(session).report({"movements": True, **given}, now_s=float(world.now_s))


def test_a_fee_is_income_of_the_node_that_sent_the_withdrawal(earned: World, tmp_path: Path) -> None:
    relay, planner = earned.payer, planner_of(earned.payer, PAYER_KEY, tmp_path / "payer")
    before = tokens(earned, relay.accounts.wallet)
    planner.act(plan(planner, signed(earned))["plan"])
    earned.run(lambda: relay.ledger.events.find("Withdrawn") and not relay.ledger.outbox.unfinished())
    found = books(relay, earned)
    lines = {each["line"]: int(each["final_wei"]) for each in found["lines"]}
    assert lines["relay"] == FEE == tokens(earned, relay.accounts.wallet) - before
    assert [int(each["amount_wei"]) for each in found["movements"] if each["kind"] == "relay"] == [FEE]
    assert (int(found["relay_fees_wei"]), int(found["withdrawn_wei"])) == (0, 0)
    assert found["books"]["holds"]
    days = books(relay, earned, by="day")["days"]
    assert sum(int(day["net_wei"]) for day in days) == int(found["net_wei"])


def test_a_fee_from_the_own_payout_account_is_neither_income_nor_cost(
    earned: World, planner: TransactionPlanner
) -> None:
    planner.act(plan(planner, signed(earned))["plan"])
    earned.run(lambda: earned.node.ledger.events.find("Withdrawn"))
    found = books(earned.node, earned)
    assert {each["line"]: each["final_wei"] for each in found["lines"]}["relay"] == found["relay_fees_wei"] == "0"


def test_a_fee_is_a_cost_of_the_account_whose_withdrawal_was_sent(world: World, tmp_path: Path) -> None:
    channel, owner = world.open_channel(), world.node.accounts.wallet
    world.earn(channel, OPEN)
    world.run(lambda: world.balance(owner))
    credited = world.balance(owner)
    relay = planner_of(world.payer, PAYER_KEY, tmp_path / "payer")
    relays = (world.payer.accounts.wallet,)
    sign = {"account": owner, "sign": lambda digest: sign_digest(NODE_KEY, digest), "relays": relays}
    relay.act(plan(relay, signed(world, amount_wei=Wei(credited - FEE), **sign))["plan"])
    world.run(lambda: world.node.ledger.events.find("Withdrawn"))
    found = books(world.node, world)
    assert (int(found["relay_fees_wei"]), int(found["withdrawn_wei"])) == (FEE, credited)
    assert int(found["net_wei"]) == int(found["total"]["final_wei"]) - FEE
    moved = {each["kind"]: (each["flow"], int(each["amount_wei"])) for each in found["movements"]}
    assert moved["relay_fee"] == ("cost", -FEE)
    assert moved["withdrawn"] == ("transfer", credited - FEE)
    assert found["books"]["holds"]
    assert sum(int(day["relay_fees_wei"]) for day in books(world.node, world, by="day")["days"]) == FEE


def test_a_withdrawal_to_the_wallet_that_sends_it_is_no_fee_beside_the_fee(earned: World, tmp_path: Path) -> None:
    """An owner whose other account has no gas can have the node send its withdrawal to the node's own wallet."""
    relay, planner = earned.payer, planner_of(earned.payer, PAYER_KEY, tmp_path / "payer")
    before = tokens(earned, relay.accounts.wallet)
    planner.act(plan(planner, signed(earned, to=relay.accounts.wallet, amount_wei=Wei(5 * FEE)))["plan"])
    earned.run(lambda: relay.ledger.events.find("Withdrawn") and not relay.ledger.outbox.unfinished())
    found = books(relay, earned)
    assert tokens(earned, relay.accounts.wallet) == before + 6 * FEE
    assert {each["line"]: int(each["final_wei"]) for each in found["lines"]}["relay"] == FEE
    assert [int(each["amount_wei"]) for each in found["movements"] if each["kind"] == "relay"] == [FEE]


def test_a_gift_to_the_wallet_is_no_fee(earned: World) -> None:
    """Another account can withdraw to this wallet in a transaction of its own."""
    earned.chain.fund(ADA)
    receipt = earned.chain.send("AttributionRewards", "withdraw", earned.node.accounts.wallet, 5, key=KEY)
    assert receipt.is_ok
    earned.run(lambda: earned.node.ledger.events.find("Withdrawn"))
    lines = {each["line"]: each["final_wei"] for each in books(earned.node, earned)["lines"]}
    assert lines["relay"] == "0"
