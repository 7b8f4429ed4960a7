"""Write tests/vectors/*.json: results of the protocol's rules for chosen inputs, as tests for any language.

A case is {name, why, input, output | error}: `error` is the wire code of the error. Bytes are 0x-hex. Most cases
stand in the file itself, and only their output is written: for a new one, add {name, why, input} there. The folder
vectors/ has the rules, and those cases whose inputs other rules make, such as signatures, proofs and frames to read.
"""

import json
from typing import Any

from vectors import (
    advertisement,
    attribution,
    codec,
    commitments,
    epoch,
    market,
    merkle,
    payments,
    payouts,
    providers,
    rows,
    settlement,
    signals,
    sum_tree,
    wire,
)
from vectors.common import FOLDER, Case, Rule, Rules, cases_in

from openledger_protocol.errors import ProtocolError

SCHEMA = "openledger.vectors/1"

FILES: dict[str, Rules] = {
    "codec": codec.CODEC,
    "adapter_id": codec.ADAPTER_ID,
    "payments": payments.RULES,
    "commitments": commitments.RULES,
    "attribution": attribution.RULES,
    "settlement": settlement.RULES,
    "signals": signals.RULES,
    "payouts": payouts.RULES,
    "sum_tree": sum_tree.RULES,
    "merkle": merkle.RULES,
    "epoch": epoch.RULES,
    "wire": wire.RULES,
    "advertisement": advertisement.RULES,
    "market": market.MARKET,
    "providers": providers.RULES,
    "rows": rows.RULES,
    "transfer": market.TRANSFER,
}


def render(name: str) -> str:
    """The text of one vector file."""
    rules = {}
    for rule, entry in FILES[name].items():
        apply, cases = entry if isinstance(entry, tuple) else (entry, cases_in(name)[rule])
        rules[rule] = [answer(case, apply) for case in cases]
    return json.dumps({"schema": SCHEMA, "rules": rules}, indent=2) + "\n"


def answer(case: Case, apply: Rule) -> dict[str, Any]:
    name, why, given = case
    try:
        return {"name": name, "why": why, "input": given, "output": apply(given)}
    except ProtocolError as error:
        return {"name": name, "why": why, "input": given, "error": error.code}


def main() -> None:
    for name in FILES:
        (FOLDER / f"{name}.json").write_text(render(name))


if __name__ == "__main__":
    main()
