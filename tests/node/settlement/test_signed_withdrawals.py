"""The withdrawals that were signed here, as files."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.signed import account

from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.settlement.signed_withdrawals import check_is_new, keep_withdrawal
from openledger_protocol.eip712 import rewards_domain
from openledger_protocol.primitives import Wei
from openledger_protocol.relayed import RelayedWithdrawal, SignedFee

OWNER, RELAY = account(0x51), account(0x52)
SIGNATURE = bytes([1]) * 64 + b"\x1b"
WITHDRAWAL = RelayedWithdrawal(
    network="harbour-1",
    domain=rewards_domain(31337, account(0x53)),
    account=OWNER,
    to=OWNER,
    amount_wei=Wei(7),
    nonce=3,
    deadline_s=1_000,
    fee_wei=Wei(2),
    signature=SIGNATURE,
    fees=(SignedFee(relay=RELAY, signature=SIGNATURE),),
)
FREE = replace(WITHDRAWAL, fee_wei=Wei(0), fees=())


def test_a_file_that_was_moved_away_leaves_room_for_the_next(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, second = keep_withdrawal(home, WITHDRAWAL), keep_withdrawal(home, WITHDRAWAL)
    first.rename(tmp_path / "elsewhere.json")
    third, fourth = keep_withdrawal(home, FREE), keep_withdrawal(home, FREE)
    assert len({second, third, fourth}) == 3
    assert sorted(second.parent.iterdir()) == sorted({second, third, fourth})


@pytest.mark.parametrize(
    ("kept", "nonce", "now_s", "is_refused"),
    [
        (WITHDRAWAL, 3, 1_000, True),  # can still be sent
        (WITHDRAWAL, 3, 1_001, False),  # is over
        (WITHDRAWAL, 4, 1_000, True),  # its payout is made, its fee is not
        (WITHDRAWAL, 4, 1_001, False),
        (FREE, 4, 1_000, False),
        (WITHDRAWAL, 5, 1_000, False),  # payout and fee are made
    ],
)
def test_nothing_is_signed_that_takes_the_place_of_an_earlier_one(
    tmp_path: Path, kept: RelayedWithdrawal, nonce: int, now_s: int, is_refused: bool
) -> None:
    home = Home(tmp_path)
    keep_withdrawal(home, kept)
    if is_refused:
        with pytest.raises(NodeError, match="--replace"):
            check_is_new(home, "harbour-1", OWNER, nonce, now_s=now_s)
    else:
        check_is_new(home, "harbour-1", OWNER, nonce, now_s=now_s)
