"""Contributors with their accounts, and the rows that they gave to a Datanet."""

from dataclasses import replace
from hashlib import sha256

from openledger_node.keystore import Key, key_from_private
from openledger_protocol.datanet import Row


def key_of(name: str) -> Key:
    return key_from_private(sha256(name.encode()).digest())


ADA, BEN, TREASURY = (key_of(name).address for name in ("ada", "ben", "treasury"))
CONTRIBUTED = tuple(
    Row(prompt=f"What does {name} keep?", completion=f"{name} keeps the {what}.", contributor=contributor)
    for contributor, name, what in (
        (ADA, "Odile", "harbour"),
        ("ben", "Rurik", "lighthouse"),
        (ADA, "Tamsin", "ferry"),
    )
)
ACCOUNTS = {"ben": BEN}
ROWS = tuple(replace(row, contributor=ACCOUNTS.get(row.contributor, row.contributor)) for row in CONTRIBUTED)
"""The same rows, with each contributor's account in place of a name."""

TERMS = {"licence": "CC-BY-4.0", "owner_ppm": 50_000}
