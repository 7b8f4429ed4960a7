"""The figures of a wallet's books as each output shows them, by one set of names."""

import csv
import io
from collections import Counter
from typing import Any

from openledger_node.accounting.book_entries import BookLine
from openledger_node.cli.earnings import COLUMNS
from openledger_node.cli.units import amount, open_amount, rounded_amount

LINES = ("node", "royalty", "datanet_owner", "contributor", "treasury", "stake")
BESIDE = (BookLine.STAKE, BookLine.CASES, BookLine.BONDS)
"""Lines that are in no balance of AttributionRewards."""

LOCKED = {"staked": "stake", "adapter bonds": "adapters", "channel deposits": "channels"}


def figures_of_json(found: dict[str, Any]) -> dict[str, int]:
    """Figures of the JSON of `earnings`, whose own equations must hold."""
    assert found["books"]["holds"]
    lines = {each["line"]: int(each["final_wei"]) for each in found["lines"]}
    assert sum(lines.values()) == int(found["total"]["final_wei"])
    out = sum(int(found[name]) for name in ("spent_wei", "lost_wei", "gas_open_wei"))
    assert int(found["total"]["final_wei"]) + int(found["total"]["under_way_wei"]) - out == int(found["net_wei"])
    locked = {each["what"]: int(each["locked_wei"]) for each in found["books"]["locked"]}
    return {
        **{line: lines[line] for line in LINES},
        "spent": int(found["spent_wei"]),
        "withdrawn": int(found["withdrawn_wei"]),
        "balance": int(found["balance_wei"]),
        **{name: locked[what] for name, what in LOCKED.items()},
        "gas": int(found["gas_wei"]),
    }


def figures_of_csv(text: str) -> dict[str, int]:
    """Figures of the CSV of `earnings`, each summed from its rows; both columns of an amount must agree."""
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert [row["time_utc"] for row in rows] == sorted(row["time_utc"] for row in rows)
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["kind"]] += int(row["amount_wei"])
        assert open_amount(row["amount_wei"]).replace(",", "") == f"{row['amount_open']} OPEN"
    credited = sum(sums[line] for line in BookLine if line not in BESIDE)
    withdrawn = sums["withdrawn"]
    return {
        **{line: sums[line] for line in LINES},
        "spent": -sums["answer"],
        "withdrawn": withdrawn,
        "balance": credited - withdrawn,
        "staked": -sums["stake_added"] - sums["stake_returned"],
        "adapter bonds": -sums["adapter_bond"] - sums["adapter_bond_returned"],
        "channel deposits": -sums["channel_deposit"] - sums["channel_returned"] + sums["answer"],
        "gas": -sum(int(row["coin_wei"]) for row in rows),
    }


def check_text(text: str, figures: dict[str, int]) -> None:
    """Require each figure in what `earnings` prints for people; its table of lines rounds to a millionth."""
    said = text.split()
    shown = {**figures, "withdrawn": figures["withdrawn"] + figures["stake"]}  # `rewards withdraw` takes both
    for name, wei in shown.items():
        assert (rounded_amount(wei) if name in LINES else amount(wei)) in said, (name, wei)
    assert "to the wei at block" in " ".join(said)
