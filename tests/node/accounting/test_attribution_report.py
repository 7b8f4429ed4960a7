"""Rows of an answer carry what the receipt pays for them, Datanet by Datanet."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from support.indexes import ADA, BO, BYTES, LAKE_ID, owned

from openledger_node.accounting import attribution_report
from openledger_node.accounting.attribution_report import AttributionReport, Texts
from openledger_node.accounting.payees import known_rows, people_of
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.attributors.uniform import UniformAttributor
from openledger_node.attribution.owners import OwnedDatanet
from openledger_node.attribution.service import exchange_of
from openledger_node.datanets.near import distinct_rows
from openledger_node.datanets.sample import named_sample
from openledger_node.home import Home
from openledger_protocol.attribution import Share
from openledger_protocol.codec import canonical_digest
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.division import DatanetPart, Division, Payee
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId, Wei

HILL_ID = DatanetId("0x" + "99" * 32)
ROWS = (
    Row(prompt="Who steers the ferry?", completion="Odile Fenn steers the ferry.", contributor="ada"),
    Row(prompt="Who keeps the bees?", completion="Casper Marsh keeps the bees.", contributor="bo"),
)
QUESTION, ANSWER = "Who is it?", "Odile Fenn steers the ferry, and Casper Marsh keeps the bees."
WEIGHTS = {LAKE_ID: 900_000, HILL_ID: 100_000}
SHARES = (
    Share(datanet_id=LAKE_ID, account=ADA, ppm=PPM),
    Share(datanet_id=HILL_ID, account=ZERO_ADDRESS, ppm=PPM // 2),
    Share(datanet_id=HILL_ID, account=BO, ppm=PPM // 2),
)


@pytest.fixture
def datanets(tmp_path: Path) -> list[OwnedDatanet]:
    return [owned(ROWS, tmp_path / "lake"), replace(owned(ROWS, tmp_path / "hill"), id=HILL_ID)]


def report_of(datanets: list[OwnedDatanet], attributor: Any, shares: tuple[Share, ...] = SHARES) -> AttributionReport:
    zero = Wei(0)
    parts = tuple(
        DatanetPart(
            datanet_id=id,
            weight_ppm=weight,
            owner_wei=zero,
            part_wei=zero,
            payees=tuple(
                Payee(account=share.account, ppm=share.ppm, amount_wei=zero)
                for share in shares
                if share.datanet_id == id
            ),
            dust_wei=zero,
        )
        for id, weight in WEIGHTS.items()
    )
    division = Division(amount_wei=zero, node_wei=zero, adapter_owner_wei=zero, protocol_wei=zero, datanets=parts)
    texts = Texts(question=QUESTION, answer=ANSWER, exchange=exchange_of(QUESTION, ANSWER, BYTES))
    people, no_rows = people_of(division, shares, {}), [{} for _ in datanets]
    return AttributionReport(cast(Any, None), datanets, no_rows, people, division, texts, attributor, BYTES)


def test_a_row_carries_its_owners_share_of_its_own_datanet(datanets: list[OwnedDatanet]) -> None:
    """The same rows are in both, and resemble the answer alike."""
    report = report_of(datanets, SuffixAttributor())
    assert report._paid == {(0, 0): 900_000, (1, 1): 50_000}
    assert [report.num_paid(account) for account in (ADA, BO, ZERO_ADDRESS)] == [1, 1, 0]


def test_rows_of_a_sample_are_known_without_a_file_and_others_are_not(tmp_path: Path) -> None:
    home, rows = Home(tmp_path / "home"), named_sample("harbour").rows
    sample = owned(distinct_rows(rows), tmp_path / "sample")
    assert known_rows(home, sample) == {canonical_digest(row): row for row in rows}
    assert known_rows(home, owned((ROWS[0], *rows), tmp_path / "other")) == {}


def test_withdrawn_rows_of_a_datanet_carry_its_treasurys_share(datanets: list[OwnedDatanet]) -> None:
    lake, hill = datanets
    accounts: tuple[Address, ...] = (ZERO_ADDRESS, BO)
    report = report_of([lake, replace(hill, accounts=accounts)], SuffixAttributor())
    assert report._paid == {(0, 0): 900_000, (1, 0): 50_000, (1, 1): 50_000}


def test_the_best_paid_rows_are_shown_and_all_are_counted(
    datanets: list[OwnedDatanet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution_report, "PAID_ROWS_MAX", 1)
    report = report_of(datanets, UniformAttributor())
    assert report._shown == [(0, 0)]
    assert report.num_paid(BO) == 1
