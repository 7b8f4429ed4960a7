"""The store of provider records on a bootstrap node, and what strangers try with it."""

from typing import cast

import pytest
import trio
from node.p2p.provided import NET, NOW_S, adapter, id_of, signed
from trio.testing import MemorySendStream, MockClock, memory_stream_pair, wait_all_tasks_blocked

from openledger_node.p2p import provider_records
from openledger_node.p2p.provider_records import PER_GROUP_MAX, ProviderServer, RecordStore, neighbourhood_of
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId, Transport
from openledger_protocol import errors
from openledger_protocol.errors import MalformedError, OverloadedError, ProtocolError, StaleError, WrongNetworkError
from openledger_protocol.wire.providers import RECORDS_MAX, GetRecords, Records, decode, encode

LORA = adapter("lora")


class World:
    """A store, and peers that put records."""

    def __init__(self, *, secret: bytes = b"secret", stored_max: int = 10_000) -> None:
        self.now_s = float(NOW_S)
        self.store = RecordStore(network=NET, now_s=lambda: self.now_s, secret=secret, stored_max=stored_max)

    def put(self, name: str, content: bytes, group: str = "") -> bool:
        return self.store.put(id_of(name), group or name, content)

    def providers(self, adapter_id: str = LORA) -> set[bytes]:
        return set(self.store.find(adapter_id))  # type: ignore[arg-type]


def test_a_newer_record_takes_the_place_of_the_old_one_and_never_the_other_way() -> None:
    world = World()
    old, new = signed("ada", LORA), signed("ada", LORA, issued_s=NOW_S + 1)
    world.put("ada", old)
    world.put("ada", new)
    with pytest.raises(StaleError):
        world.put("ada", old)
    assert world.providers() == {new}
    assert world.store.num_records == 1


def test_a_withdrawal_takes_back_an_older_record_of_its_own_peer() -> None:
    world = World()
    old, new = signed("ada", LORA), signed("ada", LORA, issued_s=NOW_S + 2)
    withdrawal = signed("ada", LORA, issued_s=NOW_S + 1, expires_s=NOW_S + 1)
    world.put("ben", signed("ben", LORA))
    world.put("ada", old)
    world.now_s += 20  # by this clock it was issued 19 s ago
    assert not world.put("ada", withdrawal)
    assert world.providers() == {signed("ben", LORA)}
    assert world.put("ada", new)
    with pytest.raises(StaleError):
        world.put("ada", withdrawal)
    with pytest.raises(MalformedError):
        world.put("ben", withdrawal)
    assert not world.put("cyd", signed("cyd", LORA, expires_s=NOW_S)), "there was none"
    assert world.store.num_records == 2


@pytest.mark.parametrize(
    ("why", "content", "error"),
    [
        ("another peer's", signed("ben", LORA), MalformedError),
        ("with another key", signed("ben", LORA)[:-64] + bytes(64), ProtocolError),
        ("forged", signed("ada", LORA)[:-1] + b"\x00", errors.BadSignatureError),
        ("run out", signed("ada", LORA, issued_s=NOW_S - 3_600, expires_s=NOW_S), StaleError),
        ("from the future", signed("ada", LORA, issued_s=NOW_S + 31), StaleError),
        ("another network's", signed("ada", LORA, network="other-net"), WrongNetworkError),
        ("junk", b"\xff" * 100, MalformedError),
        ("too long", bytes(2_049), MalformedError),
    ],
)
def test_a_record_that_is_wrong_is_refused(why: str, content: bytes, error: type[ProtocolError]) -> None:
    world = World()
    with pytest.raises(error):
        world.put("ada", content)
    assert world.store.num_records == 0, why


def test_of_many_providers_a_random_sample_is_kept_and_not_those_who_came_first() -> None:
    names = [f"peer {number}" for number in range(100)]
    samples = []
    for secret in (b"one", b"two"):
        world = World(secret=secret)
        for name in names:
            world.put(name, signed(name, LORA))
        samples.append(world.providers())
        assert len(samples[-1]) == RECORDS_MAX == world.store.num_records
    first = {signed(name, LORA) for name in names[:RECORDS_MAX]}
    assert len({frozenset(samples[0]), frozenset(samples[1]), frozenset(first)}) == 3


def test_a_peer_that_puts_again_and_again_draws_no_better_lot() -> None:
    world = World()
    names = [f"peer {number}" for number in range(60)]
    for name in names:
        world.put(name, signed(name, LORA))
    before = world.providers()
    for second in range(1, 4):
        for name in names:
            world.put(name, signed(name, LORA, issued_s=NOW_S + second))
    after = {signed(name, LORA, issued_s=NOW_S + 3) for name in names if signed(name, LORA) in before}
    assert world.providers() == after


def test_a_thousand_providers_of_one_neighbourhood_take_four_places() -> None:
    world = World()
    for number in range(200):
        world.put(f"sybil {number}", signed(f"sybil {number}", LORA), "8.8.8.0/24")
    assert len(world.providers()) == PER_GROUP_MAX
    honest = [f"honest {number}" for number in range(20)]
    assert all(world.put(name, signed(name, LORA)) for name in honest)


def test_a_full_store_takes_from_the_neighbourhood_that_has_most() -> None:
    world = World(stored_max=100)
    for number in range(10):
        assert world.put("honest", signed("honest", adapter(number)))
    for number in range(300):
        world.put(f"sybil {number % 7}", signed(f"sybil {number % 7}", adapter(f"junk {number}")), "8.8.8.0/24")
    assert world.store.num_records == 100
    assert all(world.providers(adapter(number)) for number in range(10))
    assert world.put("newcomer", signed("newcomer", LORA))
    assert world.store.num_records == 100


def test_a_peer_has_a_bounded_number_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_records, "PER_PEER_MAX", 5)
    world = World()
    for number in range(5):
        world.put("ada", signed("ada", adapter(number)))
    with pytest.raises(OverloadedError):
        world.put("ada", signed("ada", LORA))
    assert world.put("ada", signed("ada", adapter(0), issued_s=NOW_S + 1)), "its own are renewed"


def test_a_record_is_told_until_it_runs_out_and_then_leaves_no_trace() -> None:
    world = World()
    record = signed("ada", LORA)
    world.put("ada", record)
    for number in range(50):
        world.put(f"peer {number % 5}", signed(f"peer {number % 5}", adapter(number)))
    world.now_s += 3_599
    assert world.providers() == {record}
    world.now_s += 1
    assert world.providers() == set()
    world.put("late", signed("late", LORA, issued_s=NOW_S + 3_600, expires_s=NOW_S + 7_200))
    assert (world.store.num_records, world.store.num_adapters) == (1, 1)
    assert len(world.store._of_group) == 1


def test_a_neighbourhood_is_a_public_network_and_anybody_else_is_alone() -> None:
    ada = id_of("ada")
    assert neighbourhood_of(ada, "8.8.8.9") == neighbourhood_of(id_of("ben"), "8.8.8.1") == "8.8.8.0/24"
    assert neighbourhood_of(ada, "127.0.0.1") == neighbourhood_of(ada, "") == ada


async def test_refused_streams_take_no_place_of_others(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    class Hosts:
        def seen_host(self, peer_id: PeerId) -> str:
            return "8.8.8.8" if peer_id.startswith("flooder") else "7.7.7.7"

    async def read_nothing() -> None:
        await trio.sleep_forever()

    server = ProviderServer(cast(Transport, Hosts()), World().store)
    for number in range(2 * provider_records.STREAMS_MAX):
        ours, _ = memory_stream_pair()
        assert isinstance(ours.send_stream, MemorySendStream)
        ours.send_stream.send_all_hook = read_nothing
        nursery.start_soon(server.serve, PeerId(f"flooder {number}"), ours)
    await wait_all_tasks_blocked()
    ours, theirs = memory_stream_pair()
    nursery.start_soon(server.serve, id_of("ada"), ours)
    messages = MessageStream(theirs)
    await messages.send(encode(GetRecords(adapter=LORA)))
    assert decode(await messages.receive()) == Records(records=())
