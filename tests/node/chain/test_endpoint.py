"""A client before endpoints that are silent, slow, broken or of another chain, and before a second one."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from openledger_node.chain.clients import evm, simulated
from openledger_node.chain.clients.evm import HttpEndpoint, open_client
from openledger_node.chain.clients.simulated import SimulatedClient
from openledger_node.chain.rpc import RpcError
from openledger_node.chain.rpc_client import RpcClient
from openledger_node.errors import ChainError
from openledger_protocol.chain import Block
from openledger_protocol.primitives import ZERO_DIGEST, check_address

TIMEOUT_S = 0.2
SLACK_S = 5.0  # a busy machine's; by limits of single reads, the dribbling ones would take minutes
RAW = bytes.fromhex("02c0")
NOBODY = check_address("0x" + "0" * 40)


@dataclass
class Server:
    """Reads questions, and lets a test write what comes back."""

    write: Callable[[socket.socket, int], None]
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    is_over: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        while not self.is_over.is_set():
            with suppress(OSError), listener.accept()[0] as connection:
                while (question := _read_question(connection)) is not None:
                    self.asked.append(question)
                    self.write(connection, question["id"])


@contextmanager
def serving(write: Callable[[socket.socket, int], None]) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(write)
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        yield server
        server.is_over.set()
        with suppress(OSError), socket.create_connection(listener.getsockname()):
            pass
        thread.join()


def _read_question(connection: socket.socket) -> dict[str, Any] | None:
    """One question; None where the client has hung up."""
    with connection.makefile("rb") as lines:
        length = 0
        while (line := lines.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = lines.read(length)
    return json.loads(body) if body else None


def http(body: bytes, *, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def answering(result: object, **named: Any) -> Callable[[socket.socket, int], None]:
    def write(connection: socket.socket, request_id: int) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}).encode()
        connection.sendall(http(body, **named))

    return write


def saying(raw: bytes) -> Callable[[socket.socket, int], None]:
    def write(connection: socket.socket, request_id: int) -> None:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)

    return write


def dribbling(raw: bytes) -> Callable[[socket.socket, int], None]:
    """A byte each time just before a limit of single reads is over, for as long as the client listens."""

    def write(connection: socket.socket, request_id: int) -> None:
        connection.settimeout(TIMEOUT_S / 4)
        with suppress(OSError):
            for byte in raw:
                connection.sendall(bytes([byte]))
                with suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        return
        connection.settimeout(None)

    return write


def silent(connection: socket.socket, request_id: int) -> None:
    """Until the client hangs up."""
    with suppress(OSError):
        connection.recv(1)


STALLS = {
    "silent": silent,
    "dribbling headers": dribbling(b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 100),
    "dribbling body": dribbling(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b" " * 9000),
}


@pytest.mark.parametrize("stall", STALLS)
def test_an_endpoint_that_stalls_is_given_up_at_the_time_limit(stall: str) -> None:
    with serving(STALLS[stall]) as server, closing(open_client(server.url, timeout_s=TIMEOUT_S)) as client:
        before_s = time.monotonic()
        with pytest.raises(ChainError, match=r"does not answer within 0.2 s"):
            client.chain_id()
        assert TIMEOUT_S <= time.monotonic() - before_s < TIMEOUT_S + SLACK_S


def test_an_endpoint_that_is_down_is_named_without_what_may_be_a_key() -> None:
    with closing(open_client("http://127.0.0.1:1/secret-key", timeout_s=TIMEOUT_S)) as client:
        with pytest.raises(ChainError, match=r"the endpoint at 127.0.0.1:1 does not answer") as caught:
            client.chain_id()
        assert "secret" not in str(caught.value)


BROKEN = {
    "500": (saying(http(b"{}", status="500 Internal Server Error")), "HTTP status 500"),
    "redirect": (saying(http(b"", status="302 Found", more="Location: http://127.0.0.1:1/\r\n")), "HTTP status 302"),
    "page": (saying(http(b"<html>hello</html>")), "does not speak JSON-RPC"),
    "another answer": (saying(http(b'{"jsonrpc":"2.0","id":-1,"result":"0x1"}')), "not a response to the request"),
    "no http": (saying(b"220 mail.example ESMTP\r\n"), "does not answer"),
    "hangs up": (saying(b""), "does not answer"),
    "no result": (saying(http(b'{"jsonrpc":"2.0","id":1}')), "no result"),
    "limited": (saying(http(b'{"id":1,"error":{"code":-32005,"message":"slow"}}')), "limits the rate of requests"),
    "refuses": (
        saying(http(b'{"id":1,"error":{"code":-32601,"message":"not here"}}')),
        "refuses eth_chainId: not here",
    ),
    "a wrong type": (
        answering({"id": 7}),
        r"as no chain does .*: try again, and if it happens again, set \[chain\] rpc to another",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_answer_is_refused_by_name(broken: str) -> None:
    write, message = BROKEN[broken]
    with serving(write) as server, closing(open_client(server.url, timeout_s=1)) as client:
        with pytest.raises(ChainError, match=message) as caught:
            client.chain_id()
        assert "127.0.0.1" in str(caught.value)
        assert len(str(caught.value)) < 400
        assert len(server.asked) == 1  # nothing asks again by itself


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evm, "ANSWER_BYTES_MAX", 1 << 20)

    def write(connection: socket.socket, request_id: int) -> None:
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    with (
        serving(write) as server,
        closing(open_client(server.url, timeout_s=5)) as client,
        pytest.raises(ChainError, match="answers with more than 1048576 bytes"),
    ):
        client.chain_id()


def test_an_endpoint_of_another_chain_is_found_out_at_the_first_head() -> None:
    with serving(answering("0x1")) as server, closing(open_client(server.url, timeout_s=1, chain_id=7)) as client:
        with pytest.raises(ChainError, match=r"is on chain 1, not 7: set \[chain\] rpc to an endpoint of chain 7"):
            client.head()
        assert [question["method"] for question in server.asked] == ["eth_chainId"]


@pytest.mark.parametrize(
    "fail", [silent, saying(b""), saying(http(b"", status="502 Bad Gateway"))], ids=["silent", "hangs up", "502"]
)
def test_a_transaction_is_sent_once_even_without_an_answer(fail: Callable[[socket.socket, int], None]) -> None:
    """Over a connection that was used before: a client that sends a request again when it breaks would do so here."""

    def write(connection: socket.socket, request_id: int) -> None:
        (answering("0x7") if len(server.asked) == 1 else fail)(connection, request_id)

    with serving(write) as server, closing(open_client(server.url, timeout_s=1)) as client:
        client.chain_id()
        with pytest.raises(ChainError):
            client.send(RAW)
        assert [question["method"] for question in server.asked] == ["eth_chainId", "eth_sendRawTransaction"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (4444, "pruned history unavailable"),
        (-32701, "History has been pruned for this block. To remove restrictions, order a dedicated full node here"),
        (-32602, "Archive requests require a personal token"),
    ],
)
def test_an_endpoint_without_old_logs_is_refused_with_the_setting_that_helps(code: int, message: str) -> None:
    def write(connection: socket.socket, request_id: int) -> None:
        body = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}
        connection.sendall(http(json.dumps(body).encode()))

    with serving(write) as server, closing(open_client(server.url, timeout_s=1)) as client:
        with pytest.raises(ChainError) as caught:
            client.logs([NOBODY], 17, 1016)
        with pytest.raises(ChainError, match="refuses eth_getBalance"):  # it is not about logs
            client.coin_balance(NOBODY)
    assert str(caught.value).endswith(
        f"no longer has the logs of blocks 17 to 1016 ({message[:80]}): set [chain] rpc to an endpoint that keeps "
        "the logs of all blocks, such as an archive node, and start the node again"
    )


def test_an_endpoint_that_tells_another_hash_is_not_believed() -> None:
    with (
        serving(answering("0x" + "ab" * 32)) as server,
        closing(open_client(server.url, timeout_s=1)) as client,
        pytest.raises(ChainError, match=r"instead of 0x"),
    ):
        client.send(RAW)


def test_an_error_of_the_endpoints_own_keeps_code_and_data() -> None:
    error = {"code": 3, "message": "execution reverted", "data": "0x1234"}

    def write(connection: socket.socket, request_id: int) -> None:
        connection.sendall(http(json.dumps({"id": request_id, "error": error}).encode(), status="400 Bad Request"))

    with serving(write) as server, closing(HttpEndpoint(server.url, 1)) as endpoint:
        with pytest.raises(RpcError) as caught:
            endpoint.ask("eth_call", [])
        assert (caught.value.code, caught.value.message, caught.value.data) == (3, "execution reverted", "0x1234")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8545", "http://", "http://host:99999", "http://[::1"])
def test_what_is_no_address_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(ChainError, match="not an address of an endpoint"):
        open_client(url)


# ---- a block is final once two endpoints say so: one that lies about it moves no money


HEAD = 9


@pytest.fixture(scope="module")
def chain() -> Iterator[SimulatedClient]:
    with closing(simulated.open_client()) as opened:
        for _ in range(HEAD):
            opened.advance(1)
        yield opened


@dataclass
class Second:
    """Another endpoint of the chain, which lies as a test says."""

    chain: SimulatedClient
    finalized: int
    is_forked: bool = False
    is_short: bool = False
    is_silent: bool = False

    def finalized_number(self) -> int:
        if self.is_silent:
            raise ChainError("the endpoint at two does not answer")
        return self.finalized

    def block(self, number: int) -> Block | None:
        found = self.chain.block(number)
        if self.is_short or found is None:
            return None
        return replace(found, hash=ZERO_DIGEST) if self.is_forked else found


def final_by(chain: SimulatedClient, second: Any) -> int:
    return RpcClient(chain._endpoint, second=second).finalized_number()


@pytest.mark.parametrize(("theirs", "agreed"), [(3, 3), (100, HEAD - 2)], ids=["a slow second", "a fast second"])
def test_what_both_call_final_is_final(chain: SimulatedClient, theirs: int, agreed: int) -> None:
    assert chain.finalized_number() == HEAD - 2
    assert final_by(chain, Second(chain, theirs)) == agreed


@pytest.mark.parametrize("lie", ["is_forked", "is_short", "is_silent"])
def test_endpoints_that_differ_or_a_silent_one_make_nothing_final(chain: SimulatedClient, lie: str) -> None:
    differ = r"different final blocks 4: compare them .* set \[chain\] rpc to the one"
    with pytest.raises(ChainError, match="at two does not answer" if lie == "is_silent" else differ):
        final_by(chain, Second(chain, 4, **{lie: True}))
