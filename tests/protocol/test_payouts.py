"""From receipts to what each account is paid: sum in is sum out, and dust and silence have one place to go."""

from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import account, claim_record, digest, plain_receipt, uints

from openledger_protocol.attribution import RowScore, Share, shares_from_scores
from openledger_protocol.constants import PAYOUTS_MAX, PPM
from openledger_protocol.errors import AttributionError, ClaimRefusedError, ProtocolError
from openledger_protocol.payouts import (
    Beneficiaries,
    ClaimedReceipt,
    CreditRole,
    PayoutList,
    check_payouts,
    late_amounts,
    payout_amounts,
    payout_list,
    receipt_leaves,
    receipts_root,
)
from openledger_protocol.primitives import ZERO_ADDRESS, ZERO_DIGEST, AdapterId, Address, DatanetId, Wei
from openledger_protocol.settlement import NOBODY, ClaimRecord, Credit, Payout, Pot, receipt_leaf
from openledger_protocol.sum_tree import SumTree, place_of

BASE, A, B = AdapterId(digest("0")), AdapterId(digest("a")), AdapterId(digest("b"))
D, E = DatanetId(digest("d")), DatanetId(digest("e"))
ANN, BEN, OWNER, TREASURY, PAYOUT, PROTOCOL = (account(number) for number in range(1, 7))
TO = Beneficiaries(node=PAYOUT, protocol=PROTOCOL, treasuries={D: TREASURY, E: TREASURY})
SIGNATURE = b"\x01" * 65


def receipt(
    amount: int, *shares: tuple[DatanetId, Address, int], adapter: AdapterId = A, is_countersigned: bool = True
) -> ClaimedReceipt:
    return ClaimedReceipt(
        item=0,
        digest=digest("1"),
        receipt=plain_receipt(amount, adapter_id=adapter, shares_hash=digest("2")),
        shares=tuple(Share(datanet_id=datanet, account=owner, ppm=ppm) for datanet, owner, ppm in shares),
        countersignature=SIGNATURE if is_countersigned else None,
    )


def pot(gross: int, amount: int, *, datanet: DatanetId = D, adapter: AdapterId = A) -> Pot:
    return Pot(start_wei=Wei(0), adapter_id=adapter, datanet_id=datanet, gross_wei=Wei(gross), amount_wei=Wei(amount))


def record(*pots: Pot) -> ClaimRecord:
    return claim_record(
        gross_wei=Wei(1_000 + sum(pot.amount_wei for pot in pots)),
        protocol_wei=Wei(50),
        node_share_wei=Wei(849),
        credits=(Credit(account=OWNER, amount_wei=Wei(101)),),
        pots=pots,
    )


def test_a_receipt_of_the_base_or_of_nothing_adds_no_weight_but_keeps_its_place() -> None:
    receipts = [receipt(5, adapter=BASE), receipt(0, (D, BEN, PPM)), receipt(4, (D, ANN, PPM))]
    listed = payout_list([pot(4, 1)], receipts)
    assert listed == PayoutList(payouts=(Payout(pot=0, account=ANN, weight=4_000_000),), offsets=((), (0,), (0,)))
    assert payout_list([], receipts[:1]) == PayoutList(payouts=(), offsets=((),))


def test_what_is_not_countersigned_is_nobodys_in_each_of_its_adapters_pots() -> None:
    """A payer who never countersigns costs contributors that part, never the node."""
    receipts = [
        receipt(100, (D, ANN, PPM), (E, ANN, PPM)),
        receipt(20, (D, BEN, PPM), (E, BEN, PPM), is_countersigned=False),
        receipt(3, (D, ANN, PPM), adapter=B),
    ]
    pots = [pot(120, 9), pot(120, 9, datanet=E), pot(3, 1, adapter=B)]
    assert payout_list(pots, receipts) == PayoutList(
        payouts=(
            Payout(pot=0, account=ANN, weight=100_000_000),
            Payout(pot=0, account=NOBODY, weight=20_000_000),
            Payout(pot=1, account=ANN, weight=100_000_000),
            Payout(pot=1, account=NOBODY, weight=20_000_000),
            Payout(pot=2, account=ANN, weight=3_000_000),
        ),
        offsets=((0, 0), (), (0,)),
    )


def test_entries_ascend_by_the_accounts_number_whatever_the_case_of_their_letters() -> None:
    lower, upper = sorted((Address("0x" + "a" * 40), Address("0x" + "B" * 40)), key=str.lower)
    receipts = [receipt(1, (D, upper, PPM)), receipt(1, (D, lower, PPM)), receipt(1, is_countersigned=False)]
    assert [payout.account for payout in payout_list([pot(3, 1)], receipts).payouts] == [lower, upper, NOBODY]


@pytest.mark.parametrize(
    ("receipts", "message"),
    [
        ([receipt(119, (D, ANN, PPM))], "pot 0 needs weights of 120000000 in all, not 119000000"),
        ([receipt(119, is_countersigned=False)], "pot 0 needs weights of 120000000 in all, not 119000000"),
        ([receipt(120, (D, ANN, PPM)), receipt(1, (D, ANN, PPM))], "in all, not 121000000"),
        ([receipt(120, (D, ANN, PPM - 1))], "in all, not 119999880"),
        ([receipt(120, (E, ANN, PPM))], f"no pot of Datanet {E} for adapter {A}"),
        ([receipt(120, (D, ANN, PPM), adapter=B)], f"no pot of Datanet {D} for adapter {B}"),
    ],
)
def test_receipts_that_are_not_those_of_the_claim_make_no_list(receipts: list[ClaimedReceipt], message: str) -> None:
    with pytest.raises(AttributionError, match=message):
        payout_list([pot(120, 9)], receipts)


def test_a_list_longer_than_the_contract_takes_is_refused_before_it_costs_gas() -> None:
    receipts = [receipt(1, (D, account(index + 1), PPM)) for index in range(PAYOUTS_MAX + 1)]
    payout_list([pot(PAYOUTS_MAX, 1)], receipts[:-1])
    with pytest.raises(ClaimRefusedError, match="257 payouts are over 256: claim fewer receipts at once"):
        payout_list([pot(PAYOUTS_MAX + 1, 1)], receipts)


scored_receipts = st.lists(
    st.tuples(uints(60), st.lists(uints(20), max_size=12), st.booleans()), min_size=1, max_size=6
)


def receipts_of(answers: list[tuple[int, list[int], bool]]) -> list[ClaimedReceipt]:
    """Receipts of adapter A whose shares come from scores."""
    receipts = []
    for price, scores, is_countersigned in answers:
        rows = [RowScore(cluster=c, account=account(c % 5 + 10), score=score) for c, score in enumerate(scores)]
        shares = [share for datanet in (D, E) for share in shares_from_scores(datanet, rows)]
        parts = [(share.datanet_id, share.account, share.ppm) for share in shares]
        receipts.append(receipt(price + 1, *parts, is_countersigned=is_countersigned))
    return receipts


@given(scored_receipts)
def test_the_parts_of_receipts_tile_each_accounts_entry(answers: list[tuple[int, list[int], bool]]) -> None:
    """No gap, so each drawn point has its receipt, and no overlap, so it has one only."""
    receipts = receipts_of(answers)
    gross = sum(claimed.receipt.amount_wei for claimed in receipts)
    pots = [pot(gross, 5), pot(gross, 5, datanet=E)]
    listed = payout_list(pots, receipts)
    for payout in listed.payouts:
        if payout.account == NOBODY:
            continue
        parts = [
            (offset, claimed.receipt.amount_wei * share.ppm)
            for claimed, offsets in zip(receipts, listed.offsets, strict=True)
            for share, offset in zip(claimed.shares, offsets, strict=bool(offsets))
            if (share.datanet_id, share.account) == (pots[payout.pot].datanet_id, payout.account)
        ]
        sizes = [size for _, size in parts]
        assert [offset for offset, _ in parts] == [0, *accumulate(sizes)][:-1]
        assert sum(sizes) == payout.weight


def test_the_tree_of_receipts_places_each_by_the_amounts_before_it() -> None:
    receipts = [receipt(5, adapter=BASE), receipt(2, is_countersigned=False), receipt(4, (D, ANN, PPM))]
    offsets = payout_list([pot(6, 1)], receipts).offsets
    leaves, root = receipt_leaves(receipts, offsets), receipts_root(receipts, offsets)
    assert leaves[2].hash == receipt_leaf(digest("1"), (0,))
    places = [place_of(root, leaf, SumTree.of(leaves).proof(index)) for index, leaf in enumerate(leaves)]
    assert places == [0, 5, 7]
    assert receipts_root([], []) == ZERO_DIGEST


@pytest.mark.parametrize(
    ("payouts", "refusal", "message"),
    [
        ([(0, BEN, 1), (0, ANN, 2)], ClaimRefusedError, "payouts ascend"),
        ([(0, ANN, 1), (0, ANN, 2)], ClaimRefusedError, "payouts ascend"),
        ([(1, ANN, 5 * PPM), (0, ANN, 3 * PPM)], ClaimRefusedError, "payouts ascend"),
        ([(2, ANN, PPM)], AttributionError, "there is no pot 2: the claim has 2"),
        ([(0, ANN, 0), (0, BEN, 3 * PPM)], AttributionError, "a payout's weight is over zero"),
        ([(0, ANN, 3 * PPM - 1)], AttributionError, "pot 0 needs weights of 3000000 in all, not 2999999"),
        ([(0, ANN, 3 * PPM), (1, BEN, PPM)], AttributionError, "pot 1 needs weights of 5000000 in all, not 1000000"),
    ],
)
def test_a_list_is_refused_as_the_contract_would(
    payouts: list[tuple[int, Address, int]], refusal: type[ProtocolError], message: str
) -> None:
    lines = [Payout(pot=index, account=owner, weight=weight) for index, owner, weight in payouts]
    with pytest.raises(refusal, match=message):
        check_payouts([pot(3, 1), pot(5, 1, datanet=E)], lines)


@pytest.mark.parametrize("is_proposed", [False, True])
def test_nobody_is_credited_nothing(is_proposed: bool) -> None:
    empty = replace(record(), protocol_wei=Wei(0), node_share_wei=Wei(0), credits=())
    assert payout_amounts(empty, [], TO) == late_amounts(empty, TO, is_proposed=is_proposed) == []


@given(scored_receipts, uints(60), st.sampled_from(["final", "not proposed", "not shown"]))
def test_what_is_credited_is_the_whole_gross(
    answers: list[tuple[int, list[int], bool]], amount: int, how: str
) -> None:
    receipts = receipts_of(answers)
    gross = sum(claimed.receipt.amount_wei for claimed in receipts)
    claim = replace(record(pot(gross, amount), pot(gross, amount // 3, datanet=E)), node_share_wei=Wei(amount + 9))
    lines = payout_list(claim.pots, receipts).payouts
    assert sum(line.weight for line in lines if line.pot == 0) == PPM * gross
    if how == "final":
        paid = payout_amounts(claim, lines, TO, num_redraws=1)
    else:
        paid = late_amounts(claim, TO, is_proposed=how == "not shown")
    named = sum(pot.amount_wei for pot in claim.pots) + sum(credit.amount_wei for credit in claim.credits)
    assert sum(credit.amount_wei for credit in paid) == claim.node_share_wei + claim.protocol_wei + named
    assert all(credit.amount_wei > 0 for credit in paid)
    dust = sum(credit.amount_wei for credit in paid if credit.role == CreditRole.TREASURY)
    treasury = sum(line.weight for line in lines if line.account == ZERO_ADDRESS)
    assert how != "final" or treasury or dust < len(lines)
