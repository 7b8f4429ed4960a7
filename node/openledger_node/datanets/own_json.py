"""Reading of `datanet.json`, the record of a Datanet that is owned here."""

from dataclasses import fields, replace
from typing import Any

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import check_address, check_digest, check_name
from openledger_protocol.rules import DATANET_RULES

from .about import about_from_json
from .commitments import Committed
from .gate import gate_from_json
from .own import DATANET_SCHEMA, Datanet, Published, RowBatch, new_datanet


def datanet_from_json(content: object) -> Datanet:
    """Read `datanet.json`.

    Raises:
        MalformedError: it is not as `store` writes it.
    """
    found = _checked_fields(Datanet, content)
    batches = tuple(_batch_from_json(each) for each in found["batches"])
    versions = tuple(Published(**_checked_fields(Published, each)) for each in found["versions"])
    approved = tuple(check_digest(each) for each in found["approved"])
    if found["schema"] != DATANET_SCHEMA or not set(approved) <= {check_digest(each.digest) for each in batches}:
        raise MalformedError("it has another schema, or approves a batch that was never contributed")
    datanet = new_datanet(
        found["name"], licence=found["licence"], treasury=found["treasury"], owner_ppm=found["owner_ppm"]
    )
    accounts = {check_name(name): check_address(account) for name, account in found["accounts"].items()}
    withdrawn = tuple(check_digest(each) for each in found["withdrawn"])
    return replace(
        datanet,
        rules=_rules_from_json(found["rules"]),
        accounts=accounts,
        batches=batches,
        approved=approved,
        versions=versions,
        withdrawn=withdrawn,
        about=about_from_json(found["about"]),
    )


def _rules_from_json(content: object) -> tuple[int, ...]:
    if not isinstance(content, list) or not all(type(each) is int for each in content):
        raise MalformedError("its rules are a list of numbers")
    if unknown := sorted(set(content) - DATANET_RULES.keys()):
        raise MalformedError(f"this release knows no attribution rule {unknown[0]}")
    return tuple(sorted(set(content)))


def _batch_from_json(content: object) -> RowBatch:
    found = _checked_fields(RowBatch, content)
    committed = found["committed"]
    return RowBatch(
        **{
            **found,
            "gate": gate_from_json(found["gate"]),
            "committed": None if committed is None else Committed(**_checked_fields(Committed, committed)),
        }
    )


def _checked_fields(cls: type[Any], content: object) -> dict[str, Any]:
    names = {each.name for each in fields(cls)}
    if not isinstance(content, dict) or set(content) != names:
        raise MalformedError(f"it must have the fields {', '.join(sorted(names))}")
    return content
