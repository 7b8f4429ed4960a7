"""A receipt's price in parts: they sum to it, and are what a claim of it alone pays."""

from dataclasses import replace

import pytest
from support import signed
from support.signed import NODE, PAYMENTS, digest, lane_item

from openledger_protocol.attribution import Share
from openledger_protocol.claims import AdapterTerms, DatanetTerms, compute_claim
from openledger_protocol.constants import PPM
from openledger_protocol.division import apportion, divide, join_ppm
from openledger_protocol.primitives import ZERO_ADDRESS, AdapterId, Address, DatanetId, Wei
from openledger_protocol.settlement import EpochClaim, items_hash, span_of

PARAMS = replace(signed.PARAMS, protocol_ppm=50_000, data_ppm=150_000)
LAKE, TOWN = (DatanetId("0x" + digit * 64) for digit in "12")
ADA, BEN, OWNER = (Address("0x" + digit * 40) for digit in "345")
ADAPTER = AdapterTerms(owner=OWNER, royalty_ppm=120_000, datanets=((LAKE, 700_000), (TOWN, 300_000)))
DATANETS = {id: DatanetTerms(owner=OWNER, owner_ppm=100_000, treasury=OWNER) for id in (LAKE, TOWN)}
SHARES = (
    Share(datanet_id=LAKE, account=ADA, ppm=333_333),
    Share(datanet_id=LAKE, account=BEN, ppm=666_667),
    Share(datanet_id=TOWN, account=ZERO_ADDRESS, ppm=PPM),
)
AMOUNTS = [0, 1, 7, 999_999, 18_260_000_000_000_000, 10**18, 2**100 + 1]


@pytest.mark.parametrize("amount", AMOUNTS)
def test_all_parts_sum_to_the_price(amount: int) -> None:
    found = divide(Wei(amount), params=PARAMS, adapter=ADAPTER, datanets=DATANETS, shares=SHARES)
    parts = (found.node_wei, found.adapter_owner_wei, found.protocol_wei)
    assert sum(parts) + found.datanet_owners_wei + found.contributors_wei == amount
    for part in found.datanets:
        assert sum(payee.amount_wei for payee in part.payees) + part.dust_wei == part.part_wei


@pytest.mark.parametrize("amount", [amount for amount in AMOUNTS if 0 < amount < 2**128])
def test_the_parts_are_those_of_a_claim_that_holds_this_receipt_alone(amount: int) -> None:
    adapter_id = AdapterId(digest("6"))
    item = lane_item(0, adapter_id, amount)
    record = compute_claim(
        EpochClaim(node=NODE, seq=1, epoch=1, items_hash=items_hash([span_of(item, [adapter_id], PAYMENTS)])),
        [adapter_id],
        [item],
        domain=PAYMENTS,
        codes=[None],
        claimed_at_s=0,
        claimed_block=0,
        params=PARAMS,
        registry={adapter_id: ADAPTER},
        datanets=DATANETS,
    )
    found = divide(Wei(amount), params=PARAMS, adapter=ADAPTER, datanets=DATANETS, shares=SHARES)
    assert found.node_wei == record.node_share_wei
    assert found.protocol_wei == record.protocol_wei
    assert [part.part_wei for part in found.datanets] == [pot.amount_wei for pot in record.pots]
    owners = found.adapter_owner_wei + found.datanet_owners_wei
    assert owners == sum(credit.amount_wei for credit in record.credits)


def test_a_base_answer_pays_no_data() -> None:
    found = divide(Wei(10**18), params=PARAMS, adapter=None, datanets={}, shares=())
    assert (found.datanets, found.adapter_owner_wei, found.contributors_wei) == ((), 0, 0)
    assert found.node_wei == 95 * 10**16


def test_shares_of_several_datanets_are_joined_by_their_weights_to_a_million() -> None:
    found = join_ppm(SHARES, dict(ADAPTER.datanets))
    assert found == {ZERO_ADDRESS: 300_000, ADA: 233_333, BEN: 466_667}
    assert sum(found.values()) == PPM
    assert join_ppm((), {}) == {}


def test_parts_by_weight_sum_to_the_whole_and_nothing_weighs_nothing() -> None:
    assert apportion(10, [1, 1, 1]) == [4, 3, 3]
    assert apportion(10, [0, 0]) == [0, 0]
    assert sum(apportion(412_700, [52, 44, 31])) == 412_700
