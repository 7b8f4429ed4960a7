"""One run of the demo, and its result."""

import os
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.primitives import Digest

from ..audit.lines import terms_to_json
from ..audit.report import Report, audit
from ..chain.client import ChainClient
from ..plugs import load_plug
from .people import draw_subjects
from .processes import DemoError, closing_all
from .story import Story, check_owned
from .town import Say, Town


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Result of a demo."""

    story: Story
    peers: list[dict[str, str]]
    attribution: list[dict[str, Any]]
    report: Report
    claim_gas: int
    wall_s: float
    load: float

    def to_json(self, model: str) -> dict[str, Any]:
        """Convert for `--json`; every amount comes from the chain."""
        story, terms = self.story, terms_to_json(self.report.terms)
        return {
            "nodes": len(story.town.nodes),
            "model": model,
            "adapters": len(story.training),
            "jobs": len(story.answers),
            "tokens": sum(answer.tokens for answer in story.answers),
            "discovery_s": round(story.town.discovery_s, 2),
            "ttft_ms": [answer.ttft_ms for answer in story.answers],
            "peers": self.peers,
            "transfers": story.transfers,
            "receipts": len(story.receipts),
            "claim_gas": self.claim_gas,
            "paid_in_wei": terms["paid_in"],
            "paid_out_wei": {name: amount for name, amount in terms.items() if name != "paid_in"},
            "conserved": self.report.holds,
            "training": story.training,
            "attribution": self.attribution,
            "load": self.load,
            "wall_s": round(self.wall_s, 1),
        }


def run_demo(seed: int, models: Path, say: Say) -> DemoResult:
    """Run all steps in a temporary folder.

    Raises:
        DemoError: a step failed; the message names it.
    """
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="openledger-demo-") as root, closing_all() as opened:
        town = Town(root=Path(root), say=say, opened=opened)
        story = Story(town=town)
        subjects = draw_subjects(seed)
        town.begin_chain()
        town.begin_nodes(models)
        town.stake()
        for subject in subjects:
            story.teach(subject)
        story.move(subjects[1])
        story.ask(subjects)
        story.settle()
        story.withdraw_deposits()
        report, claim_gas = _close_books(town)
        shown = DemoResult(
            story=story,
            peers=town.peers(),
            attribution=story.attribution(),
            report=report,
            claim_gas=claim_gas,
            wall_s=time.monotonic() - started_s,
            load=round(os.getloadavg()[0], 2),
        )
    check_owned(shown.attribution)
    if not shown.report.holds:
        raise DemoError(f"audit: {'; '.join(shown.report.faults[:3]) or 'a line does not hold'}")
    say(f"audit     {len(shown.report.lines)} lines hold to the wei")
    return shown


def _close_books(town: Town) -> tuple[Report, int]:
    """Audit the chain, and sum up the gas of all claims of A and B."""
    client: ChainClient = load_plug("chain", "evm")(town.network.rpc[0])
    with closing(client):
        claims = [claim for node in (town.a, town.b) for claim in node.run("rewards", "show")["claims"]]
        receipts = [client.receipt(Digest(claim["transactions"]["claim"])) for claim in claims]
        return audit(client, town.network), sum(receipt.gas_used for receipt in receipts if receipt)
