"""poa-v3 pays rows by text and signals together, in integers that every node computes alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import account, digest

from openledger_protocol.attribution import Share
from openledger_protocol.constants import COSINE_ONE, PPM, SIGNAL_ACTIVATION_BYTES_MAX, SIGNAL_SKETCH_BYTES
from openledger_protocol.errors import AttributionError
from openledger_protocol.primitives import DatanetId
from openledger_protocol.signals import (
    Signals,
    are_shares_close,
    check_replay,
    evidence_of,
    poa_v3_score,
    poa_v3_scores,
    shares_distance_ppm,
    signal_cosine,
    signal_cosines,
    signals_from_bytes,
)

D1, D2 = DatanetId(digest("1")), DatanetId(digest("2"))
A, B = account(0xA), account(0xB)


def sketch(*numbers: int) -> bytes:
    return bytes(number & 0xFF for number in numbers).ljust(SIGNAL_SKETCH_BYTES, b"\0")


def signals(error: int = 1, label: int = 1, activation: int = 1) -> Signals:
    """Signals that differ from those of other numbers by an angle."""
    return Signals(error=sketch(9, error), label=sketch(9, label), activation=bytes([9, activation & 0xFF]))


vectors = st.binary(min_size=6, max_size=6)


@given(vectors, vectors)
def test_a_cosine_is_a_symmetric_integer_from_zero_to_one(left: bytes, right: bytes) -> None:
    cosine = signal_cosine(left, right)
    assert type(cosine) is int
    assert 0 <= cosine <= COSINE_ONE
    assert cosine == signal_cosine(right, left)


def test_evidence_counts_by_what_it_has_over_the_least() -> None:
    assert [poa_v3_score(0, 0, (2, 3, 5), least) for least in (0, 29, 30, 31)] == [30, 1, 0, 0]
    assert poa_v3_score(100, 100, (2, 3, 5), 28) == 2
    near, far = signals(2), signals(60)
    least = evidence_of(signal_cosines(signals(), far))
    assert (
        poa_v3_scores([0, 9], signals(), [near, far], least)[1] == 0 < poa_v3_scores([0], signals(), [near], least)[0]
    )


@pytest.mark.parametrize("away", ["error", "label", "activation"])
def test_a_row_earns_only_where_all_three_signals_agree(away: str) -> None:
    answer = signals()
    parts = {name: getattr(answer, name) for name in ("error", "label", "activation")}
    parts[away] = bytes(-byte & 0xFF for byte in parts[away])
    assert poa_v3_scores([10**9], answer, [Signals(**parts)]) == [0]


@pytest.mark.parametrize(
    "length", [0, 2 * SIGNAL_SKETCH_BYTES, 2 * SIGNAL_SKETCH_BYTES + SIGNAL_ACTIVATION_BYTES_MAX + 1]
)
def test_signals_of_a_wrong_length_are_refused(length: int) -> None:
    with pytest.raises(AttributionError, match="bytes"):
        signals_from_bytes(bytes(length))


def test_a_replay_may_differ_by_rounding_but_not_by_direction() -> None:
    check_replay(signals(error=100), signals(error=101))
    check_replay(signals(), signals())
    nothing = Signals(error=sketch(), label=sketch(9, 1), activation=b"\x09\x01")
    check_replay(nothing, nothing)
    with pytest.raises(AttributionError, match="'label' has the cosine 0"):
        check_replay(signals(label=5), signals(label=90))
    with pytest.raises(AttributionError, match=r"'error' has the cosine 0\.0000"):
        check_replay(nothing, signals())


def test_the_distance_of_shares_is_what_moved() -> None:
    def share(ppm: int, owner: str = A, datanet: DatanetId = D1) -> Share:
        return Share(datanet_id=datanet, account=account(int(owner, 16)), ppm=ppm)

    mine = [share(600_000), share(400_000, B), share(PPM, A, D2)]
    near = [share(560_000), share(440_000, B), share(PPM, A, D2)]
    assert shares_distance_ppm(mine, mine) == 0
    assert shares_distance_ppm(mine, near) == 40_000
    assert are_shares_close(mine, near)
    assert not are_shares_close(mine, [share(PPM, B), share(PPM, A, D2)])
    assert not are_shares_close(mine, mine[:2])
