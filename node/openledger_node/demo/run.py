"""One run of the demo, and its result."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from openledger_protocol.primitives import Digest

from ..audit.lines import terms_to_json
from ..audit.report import Report, audit
from ..chain.client import ChainClient
from ..home import Home
from ..plugs import load_plug
from .people import draw_subjects
from .processes import DemoError, closing_all
from .scratch import scratch_folder
from .story import Story, check_owned
from .telling import AskedQuestion
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
    pages: dict[str, str]  # links by node, each works once

    @property
    def names(self) -> dict[str, str]:
        """Names of all contributors by account."""
        return {account: name for subject in self.story.subjects for account, name in subject.people.items()}

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOrder:
    """The wishes for one run, and where its story is told."""

    owner: Home  # the data directory with the base
    seed: int | None  # None: the subjects of the package's adapters
    trains: bool
    say: Say
    doing: Say
    tell: Callable[[AskedQuestion], None]


@contextmanager
def run_demo(order: DemoOrder) -> Iterator[DemoResult]:
    """Run all steps in a temporary folder; the nodes stay up as long as the context is open.

    Raises:
        DemoError: a step failed; the message names it.
    """
    started_s = time.monotonic()
    with scratch_folder() as root, closing_all() as opened:
        town = Town(root=root, say=order.say, doing=order.doing, tell=order.tell, opened=opened)
        story = Story(town=town, subjects=draw_subjects(order.seed), trains=order.trains)
        order.say("demo      A and B sell a small model's answers, R buys them; all on this machine")
        town.begin_chain()
        town.begin_nodes(order.owner)
        story.teach()
        story.ask()
        attribution = story.attribution()
        check_owned(attribution)
        story.settle()
        order.doing("audit     reading the chain")
        report, claim_gas = _close_books(town)
        if not report.holds:
            raise DemoError(f"audit: {'; '.join(report.faults[:3]) or 'a line does not hold'}")
        order.say(f"audit     {len(report.lines)} sums hold to the wei, by the chain's own books")
        yield DemoResult(
            story=story,
            peers=town.peers(),
            attribution=attribution,
            report=report,
            claim_gas=claim_gas,
            wall_s=time.monotonic() - started_s,
            load=round(os.getloadavg()[0], 2),
            pages={node.name: node.ask("/open")["url"] for node in town.nodes},
        )


def _close_books(town: Town) -> tuple[Report, int]:
    """Audit the chain, and sum up the gas of all claims of A and B."""
    client: ChainClient = load_plug("chain", "evm")(town.network.rpc[0])
    with closing(client):
        claims = [claim for node in (town.a, town.b) for claim in node.ask("/money/rewards")["claims"]]
        hashes = [claim["transactions"]["claim"] for claim in claims if "claim" in claim["transactions"]]
        receipts = [client.receipt(Digest(each)) for each in hashes]  # a refused claim may have none
        return audit(client, town.network), sum(receipt.gas_used for receipt in receipts if receipt)
