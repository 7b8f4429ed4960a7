"""The engine's end of the socket pair: how much of what has arrived is read before a step."""

import socket
from collections.abc import Iterator

import pytest

from openledger_node.engine import frames
from openledger_node.engine.frames import Submit
from openledger_node.engine.worker_io import RECEIVE_BYTES, Link
from openledger_protocol.inference import SamplingParams


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Link]]:
    daemon, engine = socket.socketpair()
    daemon.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * RECEIVE_BYTES)
    with daemon, engine:
        yield daemon, Link(engine)


def frame(name: str, num_tokens: int) -> bytes:
    sampling = SamplingParams(max_tokens=1, seed=1)
    return frames.encode(
        Submit(sequence_id=name, prompt_ids=tuple([70_000] * num_tokens), sampling=sampling, adapter=None)
    )


def test_all_prompts_that_have_arrived_are_read_before_the_next_step(pair: tuple[socket.socket, Link]) -> None:
    daemon, link = pair
    names = [f"s{number}" for number in range(8)]
    prompts = b"".join(frame(name, 4_000) for name in names)
    assert len(prompts) > 2 * RECEIVE_BYTES
    daemon.sendall(prompts)
    assert [command.sequence_id for command in link.receive(wait=True) if isinstance(command, Submit)] == names
    assert list(link.receive(wait=False)) == []


def test_what_came_before_the_end_is_obeyed_before_the_end_is_told(pair: tuple[socket.socket, Link]) -> None:
    daemon, link = pair
    daemon.send(frame("last", 3))
    daemon.close()
    assert len(list(link.receive(wait=True))) == 1
    with pytest.raises(EOFError):
        list(link.receive(wait=True))
