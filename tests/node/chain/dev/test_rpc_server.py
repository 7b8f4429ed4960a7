"""The development chain's server before callers that may not ask, ask wrongly, or ask too much."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.chain_world.deployed import send_call
from support.chain_world.ways import Simulation, served_chain

from openledger_node.chain.clients.simulated import GENESIS_S, SEED
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.dev.embedded import open_chain
from openledger_node.chain.dev.rpc_methods import RpcMethods
from openledger_node.chain.dev.rpc_server import BATCH_MAX, BODY_BYTES_MAX, respond
from openledger_node.chain.rpc import RpcError
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Wei

QUESTION = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
BODY = json.dumps(QUESTION).encode()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_chain() as url:
        yield url


def exchange(url: str, head: str, body: bytes = BODY) -> tuple[int, bytes]:
    """Status and body of an answer to a request that is written by hand."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
        with connection.makefile("rb") as lines:
            status, length = int(lines.readline().split()[1]), 0
            while (line := lines.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return status, lines.read(length)


def request(*, method: str = "POST", length: object = len(BODY), **headers: str) -> str:
    """What stands above the body."""
    lines = {"Host": "127.0.0.1:8545", "Content-Type": "application/json", "Content-Length": str(length), **headers}
    return f"{method} / HTTP/1.1\n" + "".join(f"{name}: {value}\n" for name, value in lines.items() if value)


def test_only_names_of_this_machine_are_answered(url: str) -> None:
    for host in ("localhost:8545", "LOCALHOST", "127.0.0.1", "[::1]:8545"):
        status, body = exchange(url, request(Host=host))
        assert (status, json.loads(body)) == (200, {"jsonrpc": "2.0", "id": 1, "result": "0x539"}), host
    for host in ("evil.example:8545", "127.0.0.1.evil.example", "[", ""):
        assert exchange(url, request(Host=host)) == (403, b""), host


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_page_may_send_without_asking_first_is_refused(url: str, kind: str) -> None:
    assert exchange(url, request(**{"Content-Type": kind})) == (415, b"")


def test_a_page_that_asks_first_is_not_let_in(url: str) -> None:
    answer = httpx.options(url, headers={"Origin": "https://evil.example"}, trust_env=False)
    assert answer.status_code == 501
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Access-Control-Allow-Origin" not in httpx.post(url, json=QUESTION, trust_env=False).headers


def test_a_body_without_a_length_or_that_is_too_long_is_refused_unread(url: str) -> None:
    for length in ("", "-1", "٣"):
        assert exchange(url, request(length=length)) == (411, b"")
    assert exchange(url, request(length=BODY_BYTES_MAX + 1), b"") == (413, b"")
    assert exchange(url, request(length="9" * 5_000), b"") == (413, b"")


# ---- bodies


def answer(method: str, params: list[Any]) -> object:
    return {"echo": [method, *params]}


def told(body: object) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = respond(raw, answer)
    return json.loads(found) if found else None


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 1_000_000, b'{"a":' * 100_000])
def test_what_is_no_json_is_a_parse_error(body: bytes) -> None:
    assert told(body)["error"]["code"] == -32700


@pytest.mark.parametrize("body", [1, None, {"method": 5}, {"id": 1}, [], [1] * (BATCH_MAX + 1)])
def test_what_is_no_question_is_an_invalid_request(body: object) -> None:
    found = told(body)
    assert (found["id"], found["error"]["code"]) == (None, -32600)


def test_a_batch_is_answered_in_order_and_each_for_itself() -> None:
    found = told([{"id": 1, "method": "a"}, 5, {"id": 2, "method": "b"}])
    assert [each["id"] for each in found] == [1, None, 2]
    assert found[1]["error"]["code"] == -32600


def test_who_wants_no_answer_gets_none() -> None:
    assert told({"method": "a"}) is None
    assert told([{"method": "a"}]) is None
    assert [each["id"] for each in told([{"method": "a"}, {"id": 0, "method": "b"}])] == [0]


def test_an_unknown_method_is_named(url: str) -> None:
    found = httpx.post(url, json={**QUESTION, "method": "anvil_setBalance"}, trust_env=False).json()
    assert found["error"] == {"code": -32601, "message": "the method anvil_setBalance does not exist"}


# ---- the embedded chain's methods: whatever is asked, the answer is a result or an error, and never a broken thread


CHAIN = open_chain(None, GENESIS_S, seed=SEED)
CLIENT = Simulation(CHAIN)
METHODS = sorted(RpcMethods(CHAIN, "test")._methods)
WORD = "0x" + "ab" * 32
MESSAGE = {"from": BANK, "to": BANK, "value": "0x1", "data": "0x1234", "gas": "0x7530", "input": None}

quantities = st.sampled_from(["0x0", "0x1", "0x5", "0x", "0x" + "f" * 64, "0x" + "f" * 65, "-0x1", "1", 1, -1, 2.5])
names = st.sampled_from(
    ["latest", "pending", "finalized", "safe", "earliest", "tomorrow", "", {}, {"blockHash": WORD}]
)
texts = st.sampled_from([BANK, BANK.lower(), WORD, "0x12", "0xzz", "\0", "0x" + "00" * 5_000])
plain = st.one_of(st.none(), st.booleans(), quantities, names, texts)
messages = st.dictionaries(st.sampled_from(sorted(MESSAGE)), plain).map(lambda changes: {**MESSAGE, **changes})
filters = st.dictionaries(
    st.sampled_from(["fromBlock", "toBlock", "blockHash", "address", "topics"]), plain | st.lists(plain, max_size=5)
)
params = st.lists(plain | messages | filters | st.lists(plain, max_size=3), max_size=4)


@given(method=st.sampled_from(METHODS), params=params)
def test_whatever_is_asked_is_answered_or_refused(method: str, params: list[Any]) -> None:
    assert code_of(method, params) in (None, -32602, -32000, 3)


def code_of(method: str, params: list[Any]) -> int | None:
    """The code of the refusal, if it is one."""
    try:
        CLIENT.ask(method, params)
    except RpcError as error:
        return error.code
    return None


def test_blocks_and_transactions_show_whole_or_by_their_hashes() -> None:
    with closing(Simulation(open_chain(None, GENESIS_S))) as client:
        digest = send_call(client, ContractCall(to=BANK, value_wei=Wei(1)))
        waiting = client.ask("eth_getTransactionByHash", [digest])
        assert (waiting["hash"], waiting["blockNumber"], waiting["from"]) == (digest, None, BANK)
        head = client.mine()
        mined = client.ask("eth_getTransactionByHash", [digest])
        assert (mined["blockNumber"], mined["blockHash"], mined["transactionIndex"]) == ("0x1", head.hash, "0x0")
        by_number = client.ask("eth_getBlockByNumber", ["0x1", True])
        assert by_number["transactions"] == [mined]
        assert client.ask("eth_getBlockByHash", [head.hash, False]) == {**by_number, "transactions": [digest]}
        (receipt,) = client.ask("eth_getBlockReceipts", ["latest"])
        assert receipt == client.ask("eth_getTransactionReceipt", [digest])
