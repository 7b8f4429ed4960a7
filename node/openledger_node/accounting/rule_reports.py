"""Signed reports on another attribution rule: made here, or checked statement by statement."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from openledger_protocol.codec import canonical_digest
from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.primitives import AdapterId, Address, Wei, check_address
from openledger_protocol.reports import RuleReplay, reports_domain, rule_replay_digest
from openledger_protocol.signatures import recover_address

from ..audit.replay import replay
from ..errors import NodeError
from ..settlement.session import NetworkSession
from .commands import Arguments
from .receipt_check import ReceiptCheck
from .replays import chain_as_read
from .rule_replay import REPORT_SCHEMA, RuleReplays

NUMBERS = ("chain_id", "block", "first_epoch", "last_epoch", "algo_was", "algo_would")
AMOUNTS = ("gross_wei", "probes_wei", "kept_wei")


def make_report(rules: RuleReplays, given: Arguments) -> dict[str, Any]:
    """Replay `given["algo_id"]` and sign the report with the node's hot key.

    Raises:
        NodeError, ChainError: as `RuleReplays.replay`; or the key is locked.
    """
    content = rules.replay(int(given["algo_id"]), epochs=int(given["epochs"]), with_kept=bool(given.get("with_kept")))
    digest = rule_replay_digest(head_of(content), reports_domain_of(rules.session))
    return {**content, "signature": "0x" + rules.session.ring.sign(rules.session.accounts.signer, digest).hex()}


def check_report(rules: RuleReplays, report: object) -> list[ReceiptCheck]:
    """Check each statement of a report that can be checked here.

    Raises:
        MalformedError: it is no such report.
    """
    fields = _read(report)
    return [_checked(what, find) for what, find in _Checks(rules, fields).all()]


def reports_domain_of(session: NetworkSession) -> Domain:
    """The domain of reports on a session's network."""
    return reports_domain(session.network.chain_id, session.network.contracts["Params"])


def head_of(content: Mapping[str, Any]) -> RuleReplay:
    """The signed head of a report."""
    unsigned = {name: value for name, value in content.items() if name != "signature"}
    return RuleReplay(
        node=Address(content["node"]),
        first_epoch=content["first_epoch"],
        last_epoch=content["last_epoch"],
        algo_was=content["algo_was"],
        algo_would=content["algo_would"],
        gross_wei=Wei(int(content["gross_wei"])),
        probes_wei=Wei(int(content["probes_wei"])),
        kept_wei=Wei(int(content["kept_wei"])),
        content_hash=canonical_digest(unsigned),
    )


def _read(report: object) -> dict[str, Any]:
    """Check the form of a stranger's report.

    Raises:
        MalformedError: a field is missing or of the wrong type.
    """
    if not isinstance(report, dict) or report.get("schema") != REPORT_SCHEMA:
        raise MalformedError(
            f"this is no report of schema {REPORT_SCHEMA}: `gov replay algoId=N --report FILE` writes one"
        )
    try:
        is_sound = (
            all(type(report[name]) is int and report[name] >= 0 for name in NUMBERS)
            and all(isinstance(report[name], str) and report[name].isdecimal() for name in AMOUNTS)
            and all(map(_is_sound, report["adapters"]))
        )
        check_address(report["node"])
        check_address(report["signer"])
        bytes.fromhex(report["signature"].removeprefix("0x"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MalformedError(f"the report lacks a field, or one is of the wrong type: {error}") from error
    if not is_sound:
        raise MalformedError("the report has a number that is none")
    return report


def _is_sound(adapter: Mapping[str, Any]) -> bool:
    is_named = isinstance(adapter["adapter_id"], str) and isinstance(adapter["name"], str | None)
    is_counted = type(adapter["num_probes"]) is int and isinstance(adapter["probes"], list)
    return is_named and is_counted and bool(adapter["gross_wei"].isdecimal())


# ---- checks


class _UncheckedError(Exception):
    """A statement that can't be checked here."""


class _WrongError(Exception):
    """A statement that is false."""


def _checked(what: str, find: Callable[[], str]) -> ReceiptCheck:
    try:
        return ReceiptCheck(what=what, holds=True, detail=find())
    except _WrongError as error:
        return ReceiptCheck(what=what, holds=False, detail=str(error))
    except (_UncheckedError, NodeError) as error:
        return ReceiptCheck(what=what, holds=None, detail=str(error))
    except ProtocolError as error:
        return ReceiptCheck(what=what, holds=False, detail=str(error))


class _Checks:
    """The statements of one report."""

    def __init__(self, rules: RuleReplays, report: dict[str, Any]) -> None:
        self._rules = rules
        self._session = rules.session
        self._report = report

    def all(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Each statement, and the function that checks it."""
        yield "signature", self._signature
        yield "signer", self._signer
        yield "gross", self._gross
        for stated in self._report["adapters"]:
            if stated["num_probes"]:
                yield str(stated["name"]), lambda stated=stated: self._adapter(stated)  # type: ignore[misc]
        if int(self._report["kept_wei"]):
            yield "kept exchanges", self._kept

    def _signature(self) -> str:
        """The signature covers every byte of the report, and the network."""
        report = self._report
        network = self._session.network
        _require(
            (report["network"], report["chain_id"]) == (network.network, network.chain_id),
            f"it is about {report['network']}, and this node is on {network.network}",
        )
        signature = bytes.fromhex(report["signature"].removeprefix("0x"))
        found = recover_address(rule_replay_digest(head_of(report), reports_domain_of(self._session)), signature)
        _require(found == report["signer"], f"{found} has signed this content, not {report['signer']}")
        return f"by {found}"

    def _signer(self) -> str:
        node, signer = self._report["node"], self._report["signer"]
        _require(self._session.deployment.is_signer(node, signer), f"{signer} may not sign for {node}")
        return f"may sign for node {node}"

    def _gross(self) -> str:
        """The sums of the chain, as of the report's block."""
        report, chain = self._report, chain_as_read(self._session)
        first, last, block = report["first_epoch"], report["last_epoch"], report["block"]
        if block > chain.block.number:
            raise _UncheckedError(f"it is about block {block:,}, and this node has read up to {chain.block.number:,}")
        _require(last == chain.epoch_of(block), f"block {block:,} is not of epoch {last:,}")
        events = self._session.ledger.events.in_blocks(self._session.network.deploy_block, block)
        found = replay(chain, events, {}, last - first + 1, last=last)
        stated = {each["adapter_id"]: int(each["gross_wei"]) for each in report["adapters"]}
        _require(dict(found.was.gross) == stated, "the chain's claims give other sums for these adapters")
        _require(found.gross_wei == int(report["gross_wei"]), f"the claims sum to {found.gross_wei} wei")
        probes = sum(int(each["gross_wei"]) for each in report["adapters"] if each["num_probes"])
        _require(probes == int(report["probes_wei"]), f"its probes cover {probes} wei")
        return f"{found.gross_wei} wei of {found.num_claims} claims, {probes} of them covered by probes"

    def _adapter(self, stated: Mapping[str, Any]) -> str:
        """The shares on an adapter's probes, computed anew."""
        found = self._rules.of_adapter(
            AdapterId(stated["adapter_id"]),
            (self._report["algo_was"], self._report["algo_would"]),
            last_epoch=self._report["last_epoch"],
        )
        if found["why_none"]:
            raise _UncheckedError(found["why_none"])
        _require(found["probes"] == stated["probes"], "its probes give other shares")
        return f"its {found['num_probes']} probes give these shares"

    def _kept(self) -> str:
        raise _UncheckedError("only their payer has the texts of kept exchanges")


def _require(condition: bool, why_not: str) -> None:
    if not condition:
        raise _WrongError(why_not)
