"""The baselines: what people are due where nobody looks at the answer."""

from support.indexes import ADA, BO, CY, LAKE_ID, index_of_tokens

from openledger_node.attribution.attributor import Exchange
from openledger_node.attribution.attributors.uniform import SizeAttributor, UniformAttributor, proportional_shares
from openledger_protocol.attribution import RowScore
from openledger_protocol.primitives import Address

INDEX = index_of_tokens([[1, 2, 3], [], [4]])
ASKED = Exchange(prompt=(1,), answer=(4,))


def row(cluster: int, account: Address, score: int = 1) -> RowScore:
    return RowScore(cluster=cluster, account=account, score=score)


def test_rows_count_alike_or_by_their_tokens() -> None:
    assert UniformAttributor().score(ASKED, INDEX).tolist() == [1, 1, 1]
    assert SizeAttributor().score(ASKED, INDEX).tolist() == [3, 0, 1]


def test_every_cluster_is_paid_however_many_there_are() -> None:
    rows = [row(cluster, ADA if cluster < 30 else BO) for cluster in range(40)]
    assert [(share.account, share.ppm) for share in proportional_shares(LAKE_ID, rows)] == [
        (ADA, 750_000),
        (BO, 250_000),
    ]


def test_what_is_left_over_goes_to_the_largest_remainder_then_to_the_lower_account() -> None:
    thirds = proportional_shares(LAKE_ID, [row(2, CY), row(1, BO), row(0, ADA)])
    assert [share.ppm for share in thirds] == [333_334, 333_333, 333_333]
    sevenths = proportional_shares(LAKE_ID, [row(0, ADA, 2), row(1, BO, 2), row(2, CY, 3)])
    assert [share.ppm for share in sevenths] == [285_714, 285_714, 428_572]
