"""Audit a network from its chain alone: `python scripts/audit_chain.py RPC network.json [--json]`.

Each conservation line compares logs with storage. No node's ledger is read.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from openledger_node.audit.report import Report, audit, render_report, report_to_json
from openledger_node.chain.clients.evm import open_client
from openledger_node.errors import ChainError, NodeError
from openledger_node.network_file import read_network
from openledger_protocol.errors import ProtocolError

DOES_NOT_HOLD = 1


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    words = _parser().parse_args(arguments)
    try:
        report = run_audit(words.rpc, words.network, words.block)
    except NodeError as error:
        print(f"error {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(json.dumps(report_to_json(report)) if words.json else render_report(report))
    sys.exit(0 if report.holds else DOES_NOT_HOLD)


def run_audit(rpc: str, file: Path, block: int | None) -> Report:
    network = read_network(file)
    with closing(open_client(rpc)) as client:
        try:
            return audit(client, network, block)
        except ProtocolError as error:
            raise ChainError(f"the endpoint's answers can't be parsed: {error}") from error


def one_line(text: str) -> str:
    """Replace control characters, so that an endpoint's message can't move the cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Audit a network's money from its chain alone.")
    parser.add_argument("rpc", metavar="RPC", help="JSON-RPC endpoint of the network's chain")
    parser.add_argument("network", metavar="network.json", type=Path, help="the network's description")
    parser.add_argument("--block", type=_block_number, help="audit as of this block; default: the latest")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _block_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a block number")
    return int(text)


if __name__ == "__main__":
    main()
