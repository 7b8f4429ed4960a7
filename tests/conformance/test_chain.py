"""What every chain client must do, run over every way to have a chain, with both engines."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from eth_hash.auto import keccak
from support.chain_world.deployed import PRICE, DeployedChain, deployed_chain, refusal, send_call, signed_call
from support.chain_world.ways import WAYS, TamedClient, tamed_chain

from openledger_node.chain.contracts import explain_revert, load_contract
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.encoding import transaction_hash
from openledger_node.chain.identity import check_block_numbers
from openledger_node.chain.rpc import RpcError
from openledger_protocol.chain import CREATE, ContractCall, Log
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Address, Wei, check_address, checksum_address
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import GasPrice

COIN = 10**18
NOBODY = check_address("0x" + "0" * 38 + "99")
TOKEN = load_contract("OpenToken")
BALANCES_SLOT = 0
"""Of the token: where Solidity keeps its first mapping."""

keys = (keccak(f"key {number}".encode()) for number in range(10**6))


@pytest.fixture(scope="module", params=WAYS)
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedChain]:
    with tamed_chain(request.param, tmp_path_factory.mktemp("chain")) as client:
        yield deployed_chain(client)


@pytest.fixture
def client(deployed: DeployedChain) -> TamedClient:
    return deployed.client  # type: ignore[no-any-return]


@pytest.fixture
def token(deployed: DeployedChain) -> Address:
    return deployed.contracts["OpenToken"]


@pytest.fixture
def key(deployed: DeployedChain) -> bytes:
    """Of an account that nobody used before, with two coins."""
    fresh = next(keys)
    deployed.fund(address_of(fresh), coin_wei=2 * COIN)
    return fresh


def transfer(token: Address, to: Address, amount_wei: int) -> ContractCall:
    return ContractCall(to=token, data=TOKEN.encode("transfer", to, amount_wei))


def balance_of(client: TamedClient, token: Address, account: Address, block_number: int | None = None) -> Any:
    call = ContractCall(to=token, data=TOKEN.encode("balanceOf", account))
    return TOKEN.decode_result("balanceOf", client.call(call, block_number=block_number))


# ---- blocks


def test_blocks_hang_together_and_two_below_the_head_they_are_final(client: TamedClient) -> None:
    head = client.mine(3)
    blocks = [client.block(number) for number in range(head.number + 1)]
    assert blocks[-1] == head
    for parent, child in pairwise(blocks):
        assert (child.number, child.parent_hash) == (parent.number + 1, parent.hash)
        assert child.timestamp_s > parent.timestamp_s
    assert client.block(head.number + 10_000) is None
    finalized = client.finalized_number()
    assert head.number - 2 <= finalized <= client.head().number - 2


def test_contracts_see_the_block_numbers_and_hashes_that_the_endpoint_shows(client: TamedClient) -> None:
    client.mine(2)
    check_block_numbers(client)


def test_a_chain_has_one_id_and_it_is_in_every_signature(client: TamedClient, key: bytes) -> None:
    assert client.chain_id() == client.chain_id() > 0
    foreign: Any = SimpleNamespace(nonce=client.nonce, chain_id=lambda: 424_242)
    assert refusal(client, signed_call(foreign, ContractCall(to=NOBODY), key=key)) == "other"


# ---- accounts


def test_coins_move_and_the_fee_is_paid(client: TamedClient, key: bytes) -> None:
    account, to = address_of(key), address_of(next(keys))
    digest = send_call(client, ContractCall(to=to, value_wei=Wei(COIN)), key=key)
    client.mine()
    receipt = client.receipt(digest)
    assert (receipt.is_ok, receipt.gas_used) == (True, 21_000)
    assert client.coin_balance(to) == COIN
    assert client.coin_balance(account) == COIN - receipt.gas_used * receipt.gas_price_wei
    assert client.coin_balance(NOBODY) == 0


def test_a_nonce_counts_what_is_mined_and_the_pending_one_what_waits(client: TamedClient, key: bytes) -> None:
    account = address_of(key)
    raws = [signed_call(client, ContractCall(to=NOBODY), key=key, nonce=nonce) for nonce in (0, 1, 3)]
    for raw in raws[1:]:
        client.send(raw)
    assert (client.nonce(account), pending(client, account)) == (0, 0)
    client.send(raws[0])
    assert client.nonce(account) <= 2 == pending(client, account)
    client.mine()
    assert (client.nonce(account), pending(client, account)) == (2, 2)


def pending(client: TamedClient, account: Address) -> int:
    return int(client.ask("eth_getTransactionCount", [account, "pending"]), 16)


# ---- calls


def test_a_call_and_storage_are_those_of_the_latest_block_or_of_the_one_that_is_named(
    deployed: DeployedChain, client: TamedClient, token: Address
) -> None:
    account = address_of(next(keys))
    before = client.mine().number
    deployed.fund(account, open_wei=5)
    assert balance_of(client, token, account) == 5
    assert balance_of(client, token, account, before) == 0
    word = bytes(12) + bytes.fromhex(account[2:]) + BALANCES_SLOT.to_bytes(32, "big")
    slot = int.from_bytes(keccak(word), "big")
    assert client.storage(token, slot) == (5).to_bytes(32, "big")
    assert client.storage(token, slot, block_number=before) == bytes(32)
    assert client.storage(NOBODY, 0) == bytes(32)


def test_a_refusal_comes_with_the_contracts_own_error(client: TamedClient, token: Address) -> None:
    for ask in (client.call, client.estimate_gas):
        with pytest.raises(RevertedError) as caught:
            ask(transfer(token, BANK, 7), sender=NOBODY)
        explained = explain_revert(caught.value)
        assert (explained.name, explained.arguments) == ("ERC20InsufficientBalance", (NOBODY, 0, 7))


def test_an_estimate_is_enough_and_not_much_more(client: TamedClient, token: Address) -> None:
    for call in (ContractCall(to=NOBODY, value_wei=Wei(1)), transfer(token, address_of(next(keys)), 1)):
        gas = client.estimate_gas(call, sender=BANK)
        digest = send_call(client, call, gas_limit=gas)
        client.mine()
        receipt = client.receipt(digest)
        assert receipt.is_ok
        assert receipt.gas_used <= gas <= receipt.gas_used * 1.3


# ---- transactions


def test_what_is_sent_is_known_and_has_a_receipt_once_it_is_mined(
    client: TamedClient, token: Address, key: bytes
) -> None:
    early = signed_call(client, ContractCall(to=NOBODY), key=key, nonce=1)
    digest = client.send(early)
    assert digest == transaction_hash(early)
    client.mine()
    assert client.is_known(digest)
    assert client.receipt(digest) is None
    send_call(client, ContractCall(to=NOBODY), key=key)
    client.mine()
    receipt = client.receipt(digest)
    block = client.block(receipt.block_number)
    assert (receipt.transaction_hash, receipt.block_hash) == (digest, block.hash)
    assert client.is_known(digest)


def test_a_refused_transaction_is_mined_and_its_gas_paid(client: TamedClient, token: Address, key: bytes) -> None:
    call = transfer(token, NOBODY, 1)
    digest = send_call(client, call, key=key, gas_limit=100_000)
    assert client.input_of(digest) == call.data
    client.mine()
    assert client.input_of(digest) == call.data
    receipt = client.receipt(digest)
    assert not receipt.is_ok
    assert client.coin_balance(address_of(key)) == 2 * COIN - receipt.gas_used * receipt.gas_price_wei


def test_a_contract_is_created_where_its_creators_nonce_says(client: TamedClient, key: bytes) -> None:
    creation = ContractCall(to=CREATE, data=TOKEN.encode_creation(NOBODY, 77))
    digest = send_call(client, creation, key=key, gas_limit=5_000_000)
    client.mine()
    told = client.ask("eth_getTransactionReceipt", [digest])["contractAddress"]
    address = checksum_address(bytes.fromhex(told[2:]))
    assert balance_of(client, address, NOBODY) == 77


# ---- transactions that are not taken


def test_whoever_takes_the_place_of_another_pays_more(client: TamedClient, key: bytes) -> None:
    def variant(percent: int) -> bytes:
        price = GasPrice(
            fee_max_wei=Wei(PRICE.fee_max_wei * percent // 100), tip_max_wei=Wei(PRICE.tip_max_wei * percent // 100)
        )
        return signed_call(client, ContractCall(to=NOBODY), key=key, nonce=1, price=price)

    first, dearer = variant(100), variant(113)
    client.send(first)
    assert refusal(client, variant(99)) == "underpriced"
    client.send(dearer)
    send_call(client, ContractCall(to=NOBODY), key=key)
    client.mine()
    assert client.receipt(transaction_hash(dearer)) is not None
    assert client.receipt(transaction_hash(first)) is None


def test_a_used_nonce_more_than_there_is_and_what_is_no_transaction_is_not_taken(
    client: TamedClient, key: bytes
) -> None:
    too_much = signed_call(client, ContractCall(to=NOBODY, value_wei=Wei(3 * COIN)), key=key)
    assert refusal(client, too_much) == "no_funds"
    for raw in (b"", b"\2", b"\2\xc0", b"\x7f" + bytes(40), bytes(200)):
        assert refusal(client, raw) == "other", raw
    cheap = GasPrice(fee_max_wei=Wei(2), tip_max_wei=Wei(1))
    raw = signed_call(client, ContractCall(to=NOBODY), key=key, gas_limit=10**9, price=cheap)
    assert refusal(client, raw) in ("other", "underpriced"), "it is more gas than a block has"
    send_call(client, ContractCall(to=NOBODY), key=key)
    client.mine()
    assert refusal(client, signed_call(client, ContractCall(to=BANK), key=key, nonce=0)) == "nonce_too_low"


# ---- fees


def test_the_base_fee_and_the_tip_that_are_told_suffice_for_the_next_block(client: TamedClient, key: bytes) -> None:
    client.mine(30)
    fees = client.fees()
    assert fees.base_wei > 0
    assert fees.tip_wei > 0
    price = GasPrice(fee_max_wei=Wei(fees.base_wei + fees.tip_wei), tip_max_wei=fees.tip_wei)
    digest = send_call(client, ContractCall(to=NOBODY), key=key, price=price)
    client.mine(2)
    receipt = client.receipt(digest)
    assert fees.tip_wei < receipt.gas_price_wei <= price.fee_max_wei


# ---- logs


def test_logs_are_those_of_the_contracts_and_blocks_that_were_asked_for(
    deployed: DeployedChain, client: TamedClient, token: Address
) -> None:
    first = client.mine().number + 1
    account = address_of(next(keys))
    receipts = [deployed.send("OpenToken", "transfer", account, amount) for amount in (1, 2, 3)]
    last = receipts[-1].block_number
    logs = client.logs([token], first, last)
    assert amounts(logs) == [1, 2, 3]
    assert [(log.block_number, log.block_hash) for log in logs] == [
        (receipt.block_number, receipt.block_hash) for receipt in receipts
    ]
    assert amounts(client.logs([token], last, last)) == [3]
    assert client.logs([NOBODY, deployed.contracts["PaymentChannels"]], first, last) == []


def test_several_logs_of_one_block_have_an_order(client: TamedClient, token: Address, key: bytes) -> None:
    send_call(client, transfer(token, address_of(key), 100), gas_limit=100_000)
    client.mine()
    first = client.head().number + 1
    for nonce, amount in enumerate((7, 8, 9)):
        raw = signed_call(client, transfer(token, NOBODY, amount), key=key, nonce=nonce, gas_limit=100_000)
        client.send(raw)
    logs = client.logs([token], first, client.mine(2).number)
    assert amounts(logs) == [7, 8, 9]
    assert [(log.block_number, log.log_index) for log in logs] == sorted(
        {(log.block_number, log.log_index) for log in logs}
    )


def amounts(logs: Sequence[Log]) -> list[int]:
    events = [TOKEN.decode_log(log) for log in logs]
    return [int(str(event.arguments["value"])) for event in events if event and event.name == "Transfer"]


def test_topics_choose_among_logs_by_their_places(
    deployed: DeployedChain, client: TamedClient, token: Address
) -> None:
    receiver, other = (address_of(next(keys)) for _ in range(2))
    first = client.head().number + 1
    for to in (receiver, other):
        deployed.send("OpenToken", "transfer", to, 1)
    transfers, to = TOKEN.topic_of("Transfer"), "0x" + "0" * 24 + receiver[2:].lower()
    approvals = TOKEN.topic_of("Approval")

    def count(*topics: object) -> int:
        wanted = {"address": token, "fromBlock": hex(first), "toBlock": "latest", "topics": list(topics)}
        return len(client.ask("eth_getLogs", [wanted]))

    assert (count(), count(transfers), count(None, None, to), count(transfers, None, to)) == (2, 2, 1, 1)
    assert (count([approvals, transfers]), count(approvals), count(None, to)) == (2, 0, 0)
    assert count(transfers, None, [to, "0x" + "0" * 24 + other[2:].lower()]) == 2


# ---- questions that have no answer


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_noSuchThing", []),
        ("eth_getBalance", ["0x12", "latest"]),
        ("eth_getBalance", []),
        ("eth_getBlockByNumber", ["tomorrow", False]),
        ("eth_getTransactionReceipt", ["0x12"]),
        ("eth_call", ["nonsense", "latest"]),
        ("eth_getLogs", [{"address": 5}]),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(client: TamedClient, method: str, params: list[Any]) -> None:
    with pytest.raises(RpcError) as caught:
        client.ask(method, params)
    assert caught.value.code in (-32601, -32602)
    assert caught.value.message
