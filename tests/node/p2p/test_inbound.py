"""Connections of strangers, before and after the handshake."""

import pytest
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import IOException
from libp2p.protocol_muxer import multiselect_communicator

from openledger_node.p2p.transports.libp2p import inbound, open_transport

STRANGER, LAN = "203.0.112.1", "192.168.1.7"


class Bytes:
    """A connection on which only these bytes arrive; it counts how many were asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.num_asked = 0

    async def read(self, n: int | None = None) -> bytes:
        assert n is not None
        self.num_asked += n
        chunk, self.content = self.content[:n], self.content[n:]
        return chunk


async def test_a_negotiation_message_comes_without_its_line_feed_and_one_that_breaks_off_is_an_end() -> None:
    assert await inbound.read_line(Bytes(b"\x07/noise\n")) == b"/noise"
    with pytest.raises(IOException):
        await inbound.read_line(Bytes(b"\x07/no"))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x80\x80\x80\x04" + bytes(100),  # 1 GiB
        b"\x81\x08" + bytes(1025),
        b"\xff" * 20,  # a length without an end
        b"\x00",
        b"\x03abc",
    ],
    ids=["1 GiB", "one byte too many", "endless length", "nothing", "no line feed"],
)
async def test_a_negotiation_message_that_breaks_the_rules_is_refused_before_it_is_read(content: bytes) -> None:
    connection = Bytes(content)
    with pytest.raises(ParseError):
        await inbound.read_line(connection)
    assert connection.num_asked <= 10 + inbound.MESSAGE_BYTES_MAX


def test_the_library_reads_negotiation_messages_through_the_bound() -> None:
    """If this fails after an update of the library, look where it reads them now."""
    open_transport(identity=bytes(32), listen=(), serve_rendezvous=False)
    assert multiselect_communicator.read_delim is inbound.read_line
    names = multiselect_communicator.MultiselectCommunicator.read.__code__.co_names
    assert "read_delim" in names


def test_half_open_connections_of_one_address_leave_places_for_others() -> None:
    half_open = inbound.HalfOpen()
    assert [half_open.enter(STRANGER) for _ in range(9)] == [True] * 8 + [False]
    assert half_open.enter("203.0.112.2")
    half_open.leave(STRANGER)
    assert half_open.enter(STRANGER)


def test_handshakes_of_one_neighbourhood_are_bounded_whatever_address_they_come_from() -> None:
    half_open = inbound.HalfOpen()

    def handshake(host: str) -> bool:
        is_in = half_open.enter(host)
        if is_in:
            half_open.leave(host)
        return is_in

    num_in = sum(handshake(f"8.8.8.{number % 250}") for number in range(1_000))
    assert inbound.GROUP_HANDSHAKES_AT_ONCE <= num_in < 200
    assert handshake("9.9.9.9")


def test_half_open_connections_of_a_proxy_in_the_lan_share_no_limit_but_that_of_all() -> None:
    half_open = inbound.HalfOpen()
    assert sum(half_open.enter(LAN) for _ in range(600)) == inbound.HALF_OPEN_MAX
