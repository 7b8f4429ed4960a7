"""From receipts to who is owed what: sum in is sum out, and dust and silence have one place to go."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import NODE, account, digest, uints

from openledger_protocol.attribution import RowScore, Share, shares_from_scores
from openledger_protocol.constants import PAYOUTS_MAX, PPM
from openledger_protocol.errors import AttributionError, ClaimRefusedError, ProtocolError
from openledger_protocol.payouts import (
    AttributedReceipt,
    Beneficiaries,
    Credited,
    CreditRole,
    attribution_leaves,
    check_payouts,
    late_amounts,
    payout_amounts,
    payouts_for,
)
from openledger_protocol.primitives import ZERO_ADDRESS, AdapterId, Address, DatanetId, Wei
from openledger_protocol.settlement import ClaimRecord, Credit, Payout, Pot

A, B = AdapterId(digest("a")), AdapterId(digest("b"))
D, E = DatanetId(digest("d")), DatanetId(digest("e"))
ANN, BEN, OWNER, TREASURY, PAYOUT, PROTOCOL = (account(number) for number in range(1, 7))
TO = Beneficiaries(node=PAYOUT, protocol=PROTOCOL, treasuries={D: TREASURY, E: TREASURY})


def receipt(
    index: int, amount: int, *shares: tuple[DatanetId, Address, int], adapter: AdapterId = A
) -> AttributedReceipt:
    return AttributedReceipt(
        index=index,
        adapter_id=adapter,
        amount_wei=Wei(amount),
        shares=tuple(Share(datanet_id=datanet, account=owner, ppm=ppm) for datanet, owner, ppm in shares),
    )


def pot(gross: int, amount: int, *, datanet: DatanetId = D, adapter: AdapterId = A) -> Pot:
    return Pot(adapter_id=adapter, datanet_id=datanet, gross_wei=Wei(gross), amount_wei=Wei(amount))


def record(*pots: Pot) -> ClaimRecord:
    return ClaimRecord(
        node=NODE,
        seq=1,
        epoch=1,
        claimed_at_s=1,
        items_hash=digest("1"),
        receipts_root=digest("2"),
        count=1,
        skipped=0,
        gross_wei=Wei(1_000 + sum(pot.amount_wei for pot in pots)),
        protocol_wei=Wei(50),
        stakers_wei=Wei(40),
        node_share_wei=Wei(809),
        credits=(Credit(account=OWNER, amount_wei=Wei(101)),),
        pots=pots,
    )


def told(credited: list[Credited]) -> list[tuple[Address, int, CreditRole]]:
    return [(credit.account, credit.amount_wei, credit.role) for credit in credited]


def test_weights_are_amount_times_ppm_summed_over_receipts() -> None:
    receipts = [
        receipt(0, 100, (D, ANN, 250_000), (D, BEN, 750_000), (E, ZERO_ADDRESS, PPM)),
        receipt(1, 20, (D, BEN, PPM), (E, ANN, PPM)),
    ]
    pots = [pot(120, 9), pot(120, 9, datanet=E)]
    assert payouts_for(pots, receipts) == [
        Payout(pot=0, account=ANN, weight=25_000_000),
        Payout(pot=0, account=BEN, weight=95_000_000),
        Payout(pot=1, account=ZERO_ADDRESS, weight=100_000_000),
        Payout(pot=1, account=ANN, weight=20_000_000),
    ]
    order = [(leaf.pot, leaf.account, leaf.receipt_index) for leaf in attribution_leaves(pots, receipts)]
    assert order == [(0, ANN, 0), (0, BEN, 0), (0, BEN, 1), (1, ZERO_ADDRESS, 0), (1, ANN, 1)]


def test_one_datanet_of_two_adapters_is_two_pots() -> None:
    receipts = [receipt(0, 3, (D, ANN, PPM), adapter=B), receipt(1, 4, (D, ANN, PPM))]
    assert payouts_for([pot(4, 1), pot(3, 1, adapter=B)], receipts) == [
        Payout(pot=0, account=ANN, weight=4_000_000),
        Payout(pot=1, account=ANN, weight=3_000_000),
    ]


def test_a_receipt_of_the_base_or_of_nothing_adds_no_leaf() -> None:
    receipts = [
        receipt(0, 5, adapter=AdapterId(digest("0"))),
        receipt(1, 0, (D, BEN, PPM)),
        receipt(2, 4, (D, ANN, PPM)),
    ]
    assert payouts_for([pot(4, 1)], receipts) == [Payout(pot=0, account=ANN, weight=4_000_000)]
    assert payouts_for([], receipts[:1]) == []


@pytest.mark.parametrize(
    ("receipts", "message"),
    [
        ([], "pot 0 needs weights of 120000000 in all, not 0"),
        ([receipt(0, 119, (D, ANN, PPM))], "pot 0 needs weights of 120000000 in all, not 119000000"),
        ([receipt(0, 120, (D, ANN, PPM)), receipt(1, 1, (D, ANN, PPM))], "in all, not 121000000"),
        ([receipt(0, 120, (D, ANN, PPM - 1))], "in all, not 119999880"),
        ([receipt(0, 120, (E, ANN, PPM))], f"no pot of Datanet {E} for adapter {A}"),
        ([receipt(0, 120, (D, ANN, PPM), adapter=B)], f"no pot of Datanet {D} for adapter {B}"),
    ],
)
def test_receipts_that_are_not_those_of_the_claim_make_no_list(
    receipts: list[AttributedReceipt], message: str
) -> None:
    with pytest.raises(AttributionError, match=message):
        payouts_for([pot(120, 9)], receipts)


def test_a_list_longer_than_the_contract_takes_is_refused_before_it_costs_gas() -> None:
    receipts = [receipt(index, 1, (D, account(index + 1), PPM)) for index in range(PAYOUTS_MAX + 1)]
    payouts_for([pot(PAYOUTS_MAX, 1)], receipts[:-1])
    with pytest.raises(ClaimRefusedError, match="257 payouts are over 256: claim fewer receipts at once"):
        payouts_for([pot(PAYOUTS_MAX + 1, 1)], receipts)


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


def test_a_final_claim_pays_everybody_and_the_treasury_takes_the_dust() -> None:
    lines = [Payout(pot=0, account=owner, weight=1_000_000) for owner in (ANN, BEN)]
    lines = [Payout(pot=0, account=ZERO_ADDRESS, weight=1_000_000), *lines]
    assert told(payout_amounts(record(pot(3, 100)), lines, TO)) == [
        (ANN, 33, CreditRole.CONTRIBUTOR),
        (BEN, 33, CreditRole.CONTRIBUTOR),
        (TREASURY, 34, CreditRole.TREASURY),
        (PAYOUT, 809, CreditRole.NODE),
        (OWNER, 101, CreditRole.OWNER),
        (PROTOCOL, 50, CreditRole.PROTOCOL),
    ]


def test_a_pot_that_is_not_listed_goes_to_the_protocol_not_to_the_datanet() -> None:
    lines = [Payout(pot=0, account=ANN, weight=3_000_000)]
    assert told(payout_amounts(record(pot(3, 7), pot(5, 1_000, datanet=E)), lines, TO)) == [
        (ANN, 7, CreditRole.CONTRIBUTOR),
        (PAYOUT, 809, CreditRole.NODE),
        (OWNER, 101, CreditRole.OWNER),
        (PROTOCOL, 1_050, CreditRole.PROTOCOL),
    ]


def test_a_claim_that_nobody_was_named_for_costs_the_node_a_tenth() -> None:
    assert told(late_amounts(record(pot(3, 7)), TO)) == [
        (PAYOUT, 729, CreditRole.NODE),
        (OWNER, 101, CreditRole.OWNER),
        (PROTOCOL, 50 + 7 + 80, CreditRole.PROTOCOL),
    ]


def test_where_nobody_has_bonded_the_protocol_keeps_the_stakers_part() -> None:
    paid = payout_amounts(record(), [], replace(TO, has_stakers=False))
    assert told(paid)[-1] == (PROTOCOL, 90, CreditRole.PROTOCOL)


def test_nobody_is_credited_nothing() -> None:
    empty = replace(record(), protocol_wei=Wei(0), node_share_wei=Wei(0), credits=())
    assert payout_amounts(empty, [], TO) == late_amounts(empty, TO) == []


@given(
    st.lists(st.tuples(uints(60), st.lists(uints(20), max_size=12)), min_size=1, max_size=6), uints(60), st.booleans()
)
def test_what_is_credited_is_the_gross_less_the_stakers_part(
    answers: list[tuple[int, list[int]]], amount: int, is_late: bool
) -> None:
    receipts = []
    for index, (price, scores) in enumerate(answers):
        rows = [RowScore(cluster=c, account=account(c % 5 + 10), score=score) for c, score in enumerate(scores)]
        shares = tuple(share for datanet in (D, E) for share in shares_from_scores(datanet, rows))
        receipts.append(AttributedReceipt(index=index, adapter_id=A, amount_wei=Wei(price + 1), shares=shares))
    gross = sum(receipt.amount_wei for receipt in receipts)
    claim = record(pot(gross, amount), pot(gross, amount // 3, datanet=E))
    lines = payouts_for(claim.pots, receipts)
    assert sum(line.weight for line in lines if line.pot == 0) == PPM * gross
    paid = late_amounts(claim, TO) if is_late else payout_amounts(claim, lines, TO)
    assert sum(credit.amount_wei for credit in paid) == claim.gross_wei - claim.stakers_wei
    dust = sum(credit.amount_wei for credit in paid if credit.role == CreditRole.TREASURY)
    treasury = sum(line.weight for line in lines if line.account == ZERO_ADDRESS)
    assert is_late or treasury or dust < len(lines)
