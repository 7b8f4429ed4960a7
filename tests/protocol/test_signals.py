"""poa-v3 pays rows by text and signals together, in integers that every node computes alike."""

from itertools import permutations

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from support.signed import account, digest, uints

from openledger_protocol.attribution import RowScore, Share, check_shares, shares_from_signal_scores
from openledger_protocol.constants import COSINE_ONE, PPM, SIGNAL_ACTIVATION_BYTES_MAX, SIGNAL_SKETCH_BYTES
from openledger_protocol.errors import AttributionError
from openledger_protocol.primitives import ZERO_ADDRESS, DatanetId
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
    signals_hash,
)

D1, D2 = DatanetId(digest("1")), DatanetId(digest("2"))
A, B = account(0xA), account(0xB)


def sketch(*numbers: int) -> bytes:
    return bytes(number & 0xFF for number in numbers).ljust(SIGNAL_SKETCH_BYTES, b"\0")


def signals(error: int = 1, label: int = 1, activation: int = 1) -> Signals:
    """Signals that differ from those of other numbers by an angle."""
    return Signals(error=sketch(9, error), label=sketch(9, label), activation=bytes([9, activation & 0xFF]))


vectors = st.binary(min_size=6, max_size=6)
some_signals = st.builds(
    lambda error, label, activation: Signals(error=sketch(*error), label=sketch(*label), activation=activation),
    vectors,
    vectors,
    vectors,
)


@given(vectors, vectors)
def test_a_cosine_is_a_symmetric_integer_from_zero_to_one(left: bytes, right: bytes) -> None:
    cosine = signal_cosine(left, right)
    assert type(cosine) is int
    assert 0 <= cosine <= COSINE_ONE
    assert cosine == signal_cosine(right, left)


@given(vectors.filter(any))
def test_a_signal_has_cosine_one_with_itself(signal: bytes) -> None:
    assert signal_cosine(signal, signal) == COSINE_ONE


def test_where_no_row_shares_text_the_signals_alone_decide() -> None:
    near, far = poa_v3_scores([0, 0], signals(), [signals(2), signals(60)])
    assert near > far > 0


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


@given(st.lists(st.tuples(uints(64), some_signals), max_size=20), some_signals)
def test_any_scores_become_shares_that_sum_exactly(scored: list[tuple[int, Signals]], answer: Signals) -> None:
    scores = poa_v3_scores([text for text, _ in scored], answer, [row for _, row in scored])
    rows = [RowScore(cluster=n % 7, account=account(n % 7 + 1), score=score) for n, score in enumerate(scores)]
    shares = shares_from_signal_scores(D1, rows)
    check_shares(shares, {D1})
    assert sum(share.ppm for share in shares) == PPM


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = [(5, signals(2), 1, A), (5, signals(2), 2, B), (0, signals(), 3, A)]
    found = set()
    for order in permutations(rows):
        scores = poa_v3_scores([row[0] for row in order], signals(), [row[1] for row in order])
        scored = [
            RowScore(cluster=row[2], account=row[3], score=score) for row, score in zip(order, scores, strict=True)
        ]
        found.add(tuple(shares_from_signal_scores(D1, scored)))
    assert len(found) == 1


def test_without_agreement_the_treasury_is_paid() -> None:
    answer = signals()
    opposite = Signals(**{name: bytes(-byte & 0xFF for byte in getattr(answer, name)) for name in (
        "error", "label", "activation")})  # fmt: skip
    [score] = poa_v3_scores([7], answer, [opposite])
    assert shares_from_signal_scores(D1, [RowScore(cluster=1, account=A, score=score)]) == [
        Share(datanet_id=D1, account=ZERO_ADDRESS, ppm=PPM)
    ]


@pytest.mark.parametrize(
    "length", [0, 2 * SIGNAL_SKETCH_BYTES, 2 * SIGNAL_SKETCH_BYTES + SIGNAL_ACTIVATION_BYTES_MAX + 1]
)
def test_signals_of_a_wrong_length_are_refused(length: int) -> None:
    with pytest.raises(AttributionError, match="bytes"):
        signals_from_bytes(bytes(length))


def test_the_hash_of_signals_is_that_of_solidity() -> None:
    """abi.encode((bytes32, bytes)[]): offset, length, offsets, then each id, offset, length and padded bytes."""
    content = signals().to_bytes()
    words = [32, 1, 32, int(D1, 16), 64, len(content)]
    padded = content.ljust(-(-len(content) // 32) * 32, b"\0")
    expected = keccak(b"".join(word.to_bytes(32, "big") for word in words) + padded)
    assert signals_hash([(D1, signals())]) == "0x" + expected.hex()


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
