"""Commands for a key that is elsewhere: what is printed, signed by another program, checked and sent."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak
from support.chain_world.datanet_owner import open_owner
from support.chain_world.deployed import signed_call
from support.chain_world.world import OPEN, World
from support.contributors import TERMS
from support.signed import digest

from openledger_node.accounting.submissions import Submissions
from openledger_node.accounting.transactions import TransactionPlanner
from openledger_node.chain.contracts import load_contract
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.models.library import list_adapters
from openledger_node.settlement.actions import AddStake
from openledger_node.settlement.approvals import payment_gas_limit
from openledger_protocol.chain import ContractCall
from openledger_protocol.constants import ADAPTER_DATANETS_MAX, PPM
from openledger_protocol.errors import MalformedError, RevertedError
from openledger_protocol.primitives import Wei
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import GasPrice

KEY = b"\x31" * 32
HARDWARE = address_of(KEY)
STRANGER = address_of(b"\x32" * 32)


@dataclass
class Cold:
    """A funded account whose key this node does not have."""

    world: World
    planner: TransactionPlanner
    desk: Submissions

    def print(self, verb: str, **arguments: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.planner.prepare_unsigned(verb, {"wallet": HARDWARE, **arguments})[
            "transactions"
        ]
        return found

    def sign(self, verb: str, **arguments: Any) -> list[str]:
        """Sign as another program does, by the fields of JSON-RPC."""
        signed = [Account.sign_transaction(each["transaction"], KEY) for each in self.print(verb, **arguments)]
        return ["0x" + each.raw_transaction.hex().removeprefix("0x") for each in signed]

    def send(self, raws: list[str]) -> list[dict[str, Any]]:
        """Send in the order of `inspect`, each once the one before is mined."""
        for each in self.desk.inspect(raws):
            self.desk.submit(each["raw"])
            self.world.chain.client.mine()
        return [self.desk.submit(raw) for raw in raws]

    def do(self, verb: str, **arguments: Any) -> list[dict[str, Any]]:
        done = self.send(self.sign(verb, **arguments))
        assert {each["state"] for each in done} <= {"mined", "final"}
        self.world.settle()
        return done

    def call(self, contract: str, function: str, *arguments: object, **fields: Any) -> str:
        """A signed call that no command of this node has printed."""
        data = load_contract(contract).encode(function, *arguments)
        return self.raw(ContractCall(to=self.world.chain.contracts[contract], data=data), **fields)

    def raw(self, call: ContractCall, *, key: bytes = KEY, **fields: Any) -> str:
        return "0x" + signed_call(self.world.chain.client, call, key=key, **{"gas_limit": 100_000, **fields}).hex()


@pytest.fixture
def cold(tmp_path: Path, world: World) -> Cold:
    world.chain.fund(HARDWARE, open_wei=500 * OPEN)
    planner = TransactionPlanner(Home(tmp_path), world.node)
    return Cold(world=world, planner=planner, desk=Submissions(world.node))


def test_stake_is_added_by_a_key_that_is_elsewhere(cold: Cold) -> None:
    printed = cold.print("stake add", amount_wei=str(100 * OPEN))
    assert [(each["what"], each["contract"]) for each in printed] == [
        ("let NodeStaking take 100 OPEN", "OpenToken"),
        ("bond 100 OPEN", "NodeStaking"),
        (f"appoint {cold.world.node.accounts.signer} to sign for the node", "NodeStaking"),
    ]
    assert [int(each["transaction"]["nonce"], 16) for each in printed] == [0, 1, 2]
    done = cold.do("stake add", amount_wei=str(100 * OPEN))
    assert [each["summary"] for each in done] == [
        "let NodeStaking take 100 OPEN",
        "stake 100 OPEN",
        f"appoint {cold.world.node.accounts.signer} to sign for the node",
    ]
    deployment = cold.world.node.deployment
    assert deployment.stake(HARDWARE).bonded_wei == 100 * OPEN
    assert deployment.is_signer(HARDWARE, cold.world.node.accounts.signer)


def test_the_raw_bytes_are_what_the_fields_say(cold: Cold) -> None:
    for each in cold.print("stake add", amount_wei=str(OPEN)):
        fields = {name: value for name, value in each["transaction"].items() if name != "from"}
        signed = TypedTransaction.from_dict(fields).hash()
        assert keccak(bytes.fromhex(each["raw"][2:])) == signed


def test_what_is_approved_already_is_not_approved_again(cold: Cold) -> None:
    cold.send([cold.call("OpenToken", "approve", cold.world.chain.contracts["NodeStaking"], 5 * OPEN)])
    assert cold.print("stake add", amount_wei=str(5 * OPEN))[0]["what"] == "bond 5 OPEN"
    assert cold.print("stake add", amount_wei=str(6 * OPEN))[0]["what"] == "let NodeStaking take 6 OPEN"


def test_a_channel_is_opened_topped_up_closed_and_its_rest_taken_back(cold: Cold) -> None:
    world = cold.world
    cold.do("channels open", node=world.node.accounts.wallet, amount_wei=str(20 * OPEN))
    (row,) = [each for each in world.node.ledger.channels.all() if each.config.payer == HARDWARE]
    cold.do("channels top-up", channel_id=row.channel_id, amount_wei=str(OPEN))
    assert world.node.deployment.channel(row.channel_id).deposit_wei == 21 * OPEN
    cold.do("channels close", channel_id=row.channel_id)
    world.wait(row.config.withdraw_delay_s + 1)
    cold.do("channels withdraw", channel_id=row.channel_id)
    assert world.node.deployment.token_balance(HARDWARE) == 500 * OPEN


def test_a_datanet_and_an_adapter_are_registered(tmp_path: Path, cold: Cold) -> None:
    owner = open_owner(Home(tmp_path), cold.world)
    cold.do("datanet create", datanet="lake", **TERMS)
    owner.approve()
    cold.do("datanet publish", datanet="lake")
    owner.train(is_owned=False)
    done = cold.do("adapters publish", adapter="lake")
    assert [each["contract"] for each in done] == ["OpenToken", "ModelRegistry"]
    (adapter,) = list_adapters(owner.home)  # completed by its owner, which changes its id
    entry = cold.world.node.deployment.adapter(adapter.id)
    assert entry is not None
    assert (entry.owner, adapter.manifest.owner) == (HARDWARE, HARDWARE)


def test_a_payment_before_its_approval_has_gas_to_spare(cold: Cold) -> None:
    """The gas limit of the call that can't be simulated yet is an estimate of ours."""
    world = cold.world
    done = cold.do("stake add", amount_wei=str(OPEN))
    done += cold.do("channels open", node=world.node.accounts.wallet, amount_wei=str(20 * OPEN))
    for each in done:
        receipt = world.chain.client.receipt(each["hash"])
        assert receipt.gas_used <= each["gas_limit"] * 4 // 5, each["summary"]


def test_registering_with_the_most_datanets_has_gas_to_spare(cold: Cold) -> None:
    chain = cold.world.chain
    for number in range(ADAPTER_DATANETS_MAX):
        assert chain.send("DatanetRegistry", "create", f"lake{number}", STRANGER, 1, "CC0", 2).is_ok
    created = [event for event in chain.events("DatanetRegistry") if event.name == "DatanetCreated"]
    ids = sorted(str(event.arguments["id"]) for event in created)
    weights = [PPM // len(ids)] * len(ids)
    digests = [digest(each) for each in "abcd"]
    call = ContractCall(
        to=chain.contracts["ModelRegistry"],
        data=load_contract("ModelRegistry").encode("register", *digests, ids, weights, 1_000),
    )
    assert chain.send("OpenToken", "approve", call.to, 1_000 * OPEN).is_ok
    receipt = chain.transact(call)
    assert receipt.is_ok
    assert receipt.gas_used <= payment_gas_limit(call) * 4 // 5


def test_unsigned_amounts_beyond_the_balance_are_refused(cold: Cold) -> None:
    with pytest.raises(NodeError, match="has 500 OPEN, and this needs 501 OPEN; send OPEN to that account"):
        cold.print("stake add", amount_wei=str(501 * OPEN))


def test_a_payment_that_the_contract_refuses_is_not_hidden_by_its_missing_approval(cold: Cold) -> None:
    with pytest.raises(RevertedError, match="a channel needs at least"):
        cold.print("channels open", node=cold.world.node.accounts.wallet, amount_wei="1")


def test_a_plan_for_an_address_says_that_its_key_is_elsewhere(cold: Cold) -> None:
    with pytest.raises(NodeError, match=f"the key of {HARDWARE} is not here: add --unsigned"):
        cold.planner.plan("stake add", {"wallet": HARDWARE, "amount_wei": "1"}, None)


def test_the_nodes_hot_keys_are_left_to_the_outbox(cold: Cold) -> None:
    accounts = cold.world.node.accounts
    with pytest.raises(NodeError, match="is a hot key of this node"):
        cold.planner.prepare_unsigned("stake withdraw", {"wallet": accounts.signer})
    raw = cold.raw(ContractCall(to=HARDWARE), key=cold.world.node.ring.keys[accounts.signer].private_key)
    with pytest.raises(NodeError, match="is a hot key of this node"):
        cold.desk.inspect([raw])


def test_an_account_whose_transactions_are_under_way_keeps_its_nonces(cold: Cold) -> None:
    world = cold.world
    wallet = world.node.accounts.wallet
    world.act(AddStake(amount_wei=Wei(OPEN)))
    raw = cold.raw(ContractCall(to=HARDWARE), key=world.node.ring.keys[wallet].private_key, nonce=99)
    for refused in (
        lambda: cold.planner.prepare_unsigned("stake withdraw", {"wallet": wallet}),
        lambda: cold.desk.submit(raw),
    ):
        with pytest.raises(NodeError, match="this node sends 1 transaction of"):
            refused()


# ---- submit


def test_a_second_submission_is_told_and_sends_nothing(cold: Cold) -> None:
    raws = cold.sign("stake payout", payout=STRANGER)
    assert [each["state"] for each in cold.desk.inspect(raws)] == ["new"]
    assert cold.desk.submit(raws[0])["state"] == "pending"
    assert [each["state"] for each in cold.desk.inspect(raws)] == ["pending"]
    assert cold.desk.submit(raws[0])["state"] == "pending"
    cold.world.chain.client.mine()
    assert [each["state"] for each in cold.desk.inspect([*raws, *raws])] == ["mined"]
    cold.world.chain.client.mine(3)
    assert cold.desk.submit(raws[0])["state"] == "final"
    assert cold.world.chain.client.nonce(HARDWARE) == 1


def test_the_order_of_the_file_does_not_matter(cold: Cold) -> None:
    raws = cold.sign("stake add", amount_wei=str(100 * OPEN))
    assert [each["nonce"] for each in cold.desk.inspect(raws[::-1])] == [0, 1, 2]


def refusals(cold: Cold) -> dict[str, tuple[Callable[[], str], str]]:
    """By name: the raw bytes, and what is said of them."""
    payout = cold.world.chain.contracts["NodeStaking"]
    set_payout = ContractCall(to=payout, data=load_contract("NodeStaking").encode("setPayout", STRANGER))
    other = {**cold.print("stake payout", payout=STRANGER)[0]["transaction"], "chainId": hex(5)}
    dear = GasPrice(fee_max_wei=Wei(10**18), tip_max_wei=Wei(1))
    poor = b"\x33" * 32
    return {
        "another chain": (
            lambda: Account.sign_transaction(other, KEY).raw_transaction.hex(),
            "is for chain 5, but development-.* is on chain",
        ),
        "a later nonce": (lambda: cold.raw(set_payout, nonce=1), "nonce 1 .* because nonce 0 is missing"),
        "a much later nonce": (lambda: cold.raw(set_payout, nonce=9), "because nonce 0 to 8 is missing"),
        "no coins": (lambda: cold.raw(set_payout, key=poor), "has 0 coins, and this may cost .* signed with"),
        "too few coins": (lambda: cold.raw(set_payout, price=dear), "has 1 coins, and this may cost 100,000 coins"),
        "too little gas": (lambda: cold.raw(set_payout, gas_limit=22_000), "it needs .* gas and allows 22,000"),
        "refused by the contract": (
            lambda: cold.call("NodeStaking", "withdraw"),
            "the contract refuses: no stake can be taken out yet",
        ),
        "unsigned": (
            lambda: str(cold.print("stake payout", payout=STRANGER)[0]["raw"]),
            "transaction 1: this transaction is not signed",
        ),
        "cut off": (lambda: cold.raw(set_payout)[:-2], "transaction 1: these bytes are not a whole transaction"),
        "another type": (
            lambda: Account.sign_transaction(
                {"nonce": 0, "gasPrice": 1, "gas": 21_000, "to": STRANGER, "value": 0, "data": b"", "chainId": 1}, KEY
            ).raw_transaction.hex(),
            "not an EIP-1559 transaction",
        ),
        "nonsense": (lambda: "stake", "transaction 1 is not hex"),
        "nothing": (lambda: "", "not an EIP-1559 transaction"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "another chain",
        "a later nonce",
        "a much later nonce",
        "no coins",
        "too few coins",
        "too little gas",
        "refused by the contract",
        "unsigned",
        "cut off",
        "another type",
        "nonsense",
        "nothing",
    ],
)
def test_what_can_not_be_sent_is_refused_with_what_to_do(cold: Cold, name: str) -> None:
    make, says = refusals(cold)[name]
    raw = make()
    for ask in (lambda: cold.desk.inspect([raw]), lambda: cold.desk.submit(raw)):
        with pytest.raises((NodeError, MalformedError, RevertedError), match=says):
            ask()
    assert cold.world.chain.client.nonce(HARDWARE) == 0


def test_a_used_nonce_is_told(cold: Cold) -> None:
    (raw,) = cold.sign("stake payout", payout=STRANGER)
    cold.send(cold.sign("stake payout", payout=HARDWARE))
    with pytest.raises(NodeError, match=f"nonce 0 is already used by another transaction of {HARDWARE}"):
        cold.desk.submit(raw)
    with pytest.raises(NodeError, match=f"nonce 0 is already used by another transaction of {HARDWARE}"):
        cold.desk.inspect([raw])


def test_two_transactions_of_one_nonce_are_refused(cold: Cold) -> None:
    raws = [*cold.sign("stake payout", payout=STRANGER), *cold.sign("stake payout", payout=HARDWARE)]
    with pytest.raises(NodeError, match="nonce 0 is already used by another transaction"):
        cold.desk.inspect(raws)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (ContractCall(to=STRANGER, value_wei=Wei(10**17)), f"send 0.1 coins to {STRANGER}"),
        (ContractCall(to=STRANGER), f"send 0 coins to {STRANGER}"),
        (
            ContractCall(to=STRANGER, value_wei=Wei(1), data=b"\x01"),
            "send 0.000000000000000001 coins and a call of 0x01… with 1 bytes to",
        ),
        (ContractCall(to=STRANGER, data=b"\x12\x34\x56\x78\x00"), "send a call of 0x12345678… with 5 bytes to"),
    ],
)
def test_an_unknown_target_is_told_as_such(cold: Cold, call: ContractCall, says: str) -> None:
    (found,) = cold.desk.inspect([cold.raw(call)])
    assert says in found["summary"]
    assert (found["contract"], found["is_known"]) == (None, False)


def test_an_approval_of_a_stranger_is_not_taken_for_the_networks(cold: Cold) -> None:
    (found,) = cold.desk.inspect([cold.call("OpenToken", "approve", STRANGER, 10 * OPEN)])
    assert (found["summary"], found["is_known"]) == (f"let {STRANGER} take 10 OPEN", False)


def test_bytes_behind_the_arguments_are_not_hidden(cold: Cold) -> None:
    """A program that shows only the arguments would not show what follows them."""
    call = ContractCall(
        to=cold.world.chain.contracts["NodeStaking"],
        data=load_contract("NodeStaking").encode("setPayout", STRANGER) + b"\x01" * 32,
    )
    (found,) = cold.desk.inspect([cold.raw(call)])
    assert (found["summary"], found["is_known"]) == ("send a call of 0xa3ff39b2… with 68 bytes to NodeStaking", False)


def test_a_transaction_that_failed_on_the_chain_says_why(cold: Cold) -> None:
    raw = cold.call("NodeStaking", "withdraw")
    cold.world.chain.client.send(bytes.fromhex(raw[2:]))
    cold.world.chain.client.mine()
    found = cold.desk.submit(raw)
    assert found["state"] == "reverted"
    assert "no stake can be taken out yet" in found["error"]
