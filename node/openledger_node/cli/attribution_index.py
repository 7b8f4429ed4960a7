"""`attribution verify-index`: an adapter's index, built again from its rows and compared."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.codec import to_plain

from ..models.adapters import find_adapter
from ..models.bases import find_base
from ..models.library import list_adapters
from .daemon_client import open_node_home
from .render import emit_json, say

FAILED: Final = 1
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def verify_index(
    adapter: Annotated[str, typer.Argument(help="Name of an adapter in the library here.")],
    rows: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows that taught it; by default those of your Datanets."),
    ] = None,
    device: Annotated[str, typer.Option(help="Device that runs the base: auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
) -> int:
    """Build an adapter's attribution index again from its rows, and compare. Exit code 1 if it differs.

    Its maker ships the index, and the index of signals decides by `poa-v3` who is paid. This takes its base, its rows
    as they were contributed, and one run of each row through the base.

    Example: `openledger-node attribution verify-index lake --rows lake.jsonl`
    """
    from ..factory.index_check import check_index, rows_known_here

    home = open_node_home()
    found = find_adapter(list_adapters(home), adapter)
    base = find_base(home, found.manifest.base.name)
    checks = check_index(home, found, base, rows_known_here(home, rows), device=device)
    report: dict[str, Any] = {
        "adapter_id": found.id,
        "adapter": found.full_name,
        "holds": all(check.holds for check in checks),
        "checks": [to_plain(check) for check in checks],
    }
    if as_json:
        emit_json("index_verification", report)
    else:
        from .attribution import show_checks

        show_checks(report)
        if len(checks) == 1:
            say("it has no index of signals, so only `suffix-v1` pays by it")
    return 0 if report["holds"] else FAILED
