"""Verification of one receipt: recompute each of its statements, and compare with the signed one.

This proves the arithmetic, the signatures, the match of the texts and the claim's place on the chain. Scores are
recomputed by the same algorithm over the same index, which proves that the node did not invent them, but not that
they are fair.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from openledger_protocol.attribution import check_shares, shares_hash
from openledger_protocol.eip712 import digest_word, hex_digest
from openledger_protocol.errors import AdapterRefusedError, ProtocolError
from openledger_protocol.opening import Opening, check_opening
from openledger_protocol.payments import ChannelConfig, receipt_digest
from openledger_protocol.primitives import BASE_ONLY
from openledger_protocol.registry import check_entry
from openledger_protocol.rules import DATANET_RULES, SIGNALS_RULE, TEXT_RULE, rule_names
from openledger_protocol.signatures import check_signer, recover_address

from ..attribution.attributor import Attributor, Exchange
from ..attribution.evidence import RowEvidence, evidence
from ..attribution.registry import AdapterRegistry, Registered
from ..attribution.service import exchange_of, open_attributor, question_of, registered_shares
from ..attribution.signal_checks import (
    WrongSharesError,
    check_shares_follow,
    check_signals_replay,
    exchange_with_signals,
)
from ..engine.tokenizer import Tokenizer
from ..errors import NodeError
from ..home import Home
from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow
from ..models.adapters import Adapter
from ..models.library import list_adapters
from ..payments.bought_texts import BoughtTexts, TextStanding
from ..settlement.proof import ClaimProof, find_proof
from ..settlement.session import NetworkSession
from ..text import counted, rfc3339
from .attribution_report import Texts, teaching_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptCheck:
    """The check of one statement; `holds` is None if it can't be checked here, and `detail` says why."""

    what: str
    holds: bool | None
    detail: str


class ReceiptChecker:
    """Verifies and explains the receipts stored here."""

    def __init__(
        self,
        home: Home,
        session: NetworkSession,
        *,
        registry: AdapterRegistry,
        tokenizer: Callable[[], Tokenizer],
        texts: BoughtTexts,
    ) -> None:
        self._home = home
        self._session = session
        self._registry = registry
        self._open_tokenizer = tokenizer
        self._texts = texts

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self._open_tokenizer()

    def find(self, beginning: str) -> ReceiptRow:
        """Find the receipt whose digest or request id begins with this text.

        Raises:
            NodeError: none or several do.
        """
        return find_receipt(self._session.ledger, beginning)

    def evidence(self, row: ReceiptRow) -> tuple[RowEvidence, ...] | None:
        """The evidence for a receipt's shares; None if its texts or its adapter's rows are not here."""
        opening, (registered, _) = self._opening(row), self._registered(row)
        if opening is None or registered is None:
            return None
        attributor = self._attributor(row, opening)
        return evidence(attributor, registered.owned, self._exchange(opening, registered), self._tokenizer)

    def teaching(self, row: ReceiptRow) -> dict[str, Any]:
        """Report who taught a receipt's answer, and their parts of its price."""
        opening, (registered, why_no_rows) = self._opening(row), self._registered(row)
        texts = None
        if opening is not None:
            exchange = self._exchange(opening, registered)
            texts = Texts(question=question_of(opening.messages), answer=opening.text, exchange=exchange)
        found = teaching_of(
            self._home,
            self._session,
            row,
            registered=registered,
            texts=texts,
            attributor=self._attributor(row, opening),
            tokenizer=self._tokenizer if texts else None,
        )
        return {**found, "why_no_rows": why_no_rows if texts else self._standing(row).says}

    def texts(self, row: ReceiptRow) -> dict[str, Any]:
        """Question and answer if they are still stored, and until when they are, or since when they are gone."""
        opening, standing = self._opening(row), self._standing(row)
        return {
            "question": question_of(opening.messages) if opening else None,
            "answer": opening.text if opening else None,
            "text": {
                "state": standing.state,
                "until": None if standing.until_s is None else rfc3339(standing.until_s),
                "since": None if standing.since_s is None else rfc3339(standing.since_s),
                "says": standing.says,
            },
        }

    def adapter_name(self, row: ReceiptRow) -> str | None:
        """The name of the adapter that answered, if it is on this machine."""
        adapter = self._adapter(row)
        return adapter.full_name if adapter else None

    def check(self, row: ReceiptRow) -> list[ReceiptCheck]:
        """Check every statement of a receipt."""
        return [_checked(what, find) for what, find in self._checks(row)]

    def _checks(self, row: ReceiptRow) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "digest", lambda: self._digest(row)
        yield "signature", lambda: self._signature(row)
        yield "countersignature", lambda: self._countersignature(row)
        yield "registry", lambda: self._registry_entry(row)
        yield "shares", lambda: self._shares(row)
        yield "text", lambda: self._text(row)
        yield "attribution", lambda: self._attribution(row)
        if row.receipt.algo_id == SIGNALS_RULE:
            yield "signals", lambda: self._signals(row)
        yield "claim", lambda: self._claim(row)
        yield "payouts", lambda: self._payouts(row)

    def _digest(self, row: ReceiptRow) -> str:
        digest = hex_digest(receipt_digest(row.receipt, self._session.deployment.payments))
        _require(digest == row.digest, f"its fields hash to {digest}")
        return f"its fields hash to {digest[:18]}…"

    def _signature(self, row: ReceiptRow) -> str:
        if row.signature is None:
            raise _UnknownError("not signed yet: the next start signs it")
        signer, node = recover_address(digest_word(row.digest), row.signature), self._config(row).node
        is_signer = signer == self._session.accounts.signer or self._session.deployment.is_signer(node, signer)
        _require(is_signer, f"{signer} signed it, but may not sign for {node}")
        return f"by {signer} for node {node}"

    def _countersignature(self, row: ReceiptRow) -> str:
        if row.countersignature is None:
            raise _UnknownError(self._why_not_countersigned(row))
        check_signer(digest_word(row.digest), row.countersignature, self._config(row).authorizer)
        return f"by {self._config(row).authorizer}"

    def _why_not_countersigned(self, row: ReceiptRow) -> str:
        audit = self._session.ledger.audits.find(row.digest)
        if audit is None:
            return "the payer did not countersign: its data shares go to the protocol"
        if audit.verdict is None:
            return "not yet: this payer recomputes its shares first"
        return "this payer found its shares wrong and keeps it back: they go to the protocol"

    def _registry_entry(self, row: ReceiptRow) -> str:
        """The chain divides the adapter's earnings by this entry, whatever the receipt's shares say."""
        if row.receipt.adapter_id == BASE_ONLY:
            return "the base alone answered: it has no entry"
        entry = self._session.deployment.entry(row.receipt.adapter_id)
        _require(entry is not None, f"adapter {row.receipt.adapter_id} is not registered on this network")
        assert entry is not None
        _require(
            entry.index_root == row.receipt.work.index_root,
            f"the index {entry.index_root} is registered, but the receipt names {row.receipt.work.index_root}",
        )
        _require(
            row.receipt.algo_id in entry.rules,
            f"its shares are by {rule_names([row.receipt.algo_id])}, but the adapter's Datanets allow "
            f"{rule_names(entry.rules)}",
        )
        adapter = self._adapter(row)
        if adapter is None:
            raise _UnknownError(_not_here(row))
        check_entry(adapter.manifest, entry)
        return f"owner {entry.owner} and {counted(len(entry.datanets), 'Datanet')}, as in the adapter's manifest"

    def _shares(self, row: ReceiptRow) -> str:
        check_shares(row.shares, {share.datanet_id for share in row.shares})
        found = shares_hash(row.shares)
        _require(
            found == row.receipt.shares_hash, f"they hash to {found}, but the receipt has {row.receipt.shares_hash}"
        )
        datanets = {share.datanet_id for share in row.shares}
        return f"{counted(len(row.shares), 'share')} of {counted(len(datanets), 'Datanet')}, as signed"

    def _text(self, row: ReceiptRow) -> str:
        check_opening(self._opened(row), row.receipt)
        return f"prompt, answer and token ids open their commitments; {self._standing(row).says}"

    def _attribution(self, row: ReceiptRow) -> str:
        if row.receipt.adapter_id == BASE_ONLY:
            _require(not row.shares, "the base alone answered, but the receipt has shares")
            return "the base alone answered: nobody's data is paid"
        adapter = self._adapter(row)
        if adapter is None:
            raise _UnknownError(_not_here(row))
        registered, opening = self._paid(row, adapter), self._opened(row)
        if row.receipt.algo_id == SIGNALS_RULE:
            check_shares_follow(row.shares, opening, registered, self._tokenizer)
            return "recomputed by poa-v3 from the texts and the signals that came with the receipt: the same integers"
        attributor = open_attributor(row.receipt.algo_id)
        expected = registered_shares(attributor, registered, self._exchange(opening, registered))
        _require(expected == row.shares, "recomputed shares differ")
        return f"recomputed by {type(attributor).__name__}: the same integers"

    def _signals(self, row: ReceiptRow) -> str:
        adapter = self._adapter(row)
        if adapter is None:
            raise _UnknownError(_not_here(row))
        registered, opening = self._paid(row, adapter), self._opened(row)
        return check_signals_replay(
            row.shares,
            opening,
            row.receipt.work.profile_hash,
            adapter,
            registered,
            self._tokenizer,
            self._registry.source,
        )

    def _paid(self, row: ReceiptRow, adapter: Adapter) -> Registered:
        """The rows that a receipt pays, without those that were withdrawn when it was issued."""
        registered = self._registry.find_at(adapter, row.receipt.issued_at_s)
        if registered.owned:
            try:
                self._registry.check_complete(row.receipt.issued_at_s)
            except AdapterRefusedError as error:  # the receipt may know of a withdrawal that this node has not read
                raise _UnknownError(error.message) from error
        return registered

    def _exchange(self, opening: Opening, registered: Registered | None) -> Exchange:
        if registered is None:
            return exchange_of(opening.messages, opening.text, self._tokenizer)
        return exchange_with_signals(opening, registered, self._tokenizer)

    def _attributor(self, row: ReceiptRow, opening: Opening | None) -> Attributor:
        """The rule of a receipt, or suffix-v1 where its signals are not here: it still finds the words in common."""
        is_text = row.receipt.algo_id not in DATANET_RULES or (opening is not None and not opening.signals)
        return open_attributor(TEXT_RULE if is_text else row.receipt.algo_id)

    def _claim(self, row: ReceiptRow) -> str:
        proof = self._proof(row)
        return (
            f"receipt {proof.index} of {proof.num_receipts} in claim {proof.record.seq}, epoch {proof.record.epoch}"
        )

    def _payouts(self, row: ReceiptRow) -> str:
        proof = self._proof(row)
        if proof.proposed is None:
            raise _UnknownError("the claim's payout list is not on the chain yet")
        _require(
            (proof.proposed, proof.proposed_root) == (proof.payouts, proof.root),
            "the payout list on the chain differs from the one computed from the receipts",
        )
        return f"{len(proof.payouts)} payouts on the chain, as computed from the receipts"

    def _proof(self, row: ReceiptRow) -> ClaimProof:
        if self._config(row).node != self._session.accounts.wallet:
            raise _UnknownError("another node issued it, and only that node stores its claims")
        proof = find_proof(self._session.ledger, row)
        if proof is None:
            raise _UnknownError("no claim on the chain holds it yet")
        return proof

    def _config(self, row: ReceiptRow) -> ChannelConfig:
        channel = self._session.ledger.channels.find(row.receipt.channel_id)
        assert channel is not None, "a receipt is charged to a channel"
        return channel.config

    def _adapter(self, row: ReceiptRow) -> Adapter | None:
        found = (adapter for adapter in list_adapters(self._home) if adapter.id == row.receipt.adapter_id)
        return next(found, None)

    def _registered(self, row: ReceiptRow) -> tuple[Registered | None, str | None]:
        """The rows that its adapter was trained on, or the reason why they are not available here."""
        if row.receipt.adapter_id == BASE_ONLY:
            return None, "the base alone answered"
        if (adapter := self._adapter(row)) is None:
            return None, "its adapter is not on this machine"
        try:
            return self._registry.find_at(adapter, row.receipt.issued_at_s), None
        except ProtocolError as error:
            return None, str(error)

    def _opening(self, row: ReceiptRow) -> Opening | None:
        return self._texts.find(row.digest)

    def _standing(self, row: ReceiptRow) -> TextStanding:
        return self._texts.standing(row, is_own=self._config(row).payer == self._session.accounts.wallet)

    def _opened(self, row: ReceiptRow) -> Opening:
        if (opening := self._opening(row)) is None:
            raise _UnknownError(self._standing(row).says)
        return opening


def find_receipt(ledger: Ledger, beginning: str) -> ReceiptRow:
    """Find the receipt whose digest or request id begins with this text.

    Raises:
        NodeError: none or several do.
    """
    found = ledger.receipts.find(beginning)
    if len(found) == 1:
        return found[0]
    raise NodeError(
        f"{len(found)} receipts begin with {beginning!r}: `openledger-node attribution show` lists the newest"
    )


class _UnknownError(Exception):
    """A statement that can't be checked here."""


class _FalseError(Exception):
    """A statement that is false."""


def _require(condition: bool, why_not: str) -> None:
    if not condition:
        raise _FalseError(why_not)


def _checked(what: str, find: Callable[[], str]) -> ReceiptCheck:
    try:
        return ReceiptCheck(what=what, holds=True, detail=find())
    except (_FalseError, WrongSharesError, ProtocolError) as error:
        return ReceiptCheck(what=what, holds=False, detail=str(error))
    except (_UnknownError, NodeError) as error:
        return ReceiptCheck(what=what, holds=None, detail=str(error))


def _not_here(row: ReceiptRow) -> str:
    adapter = row.receipt.adapter_id
    return (
        f"this needs the adapter, which is not on this machine: `openledger-node adapters pull {adapter}` fetches it"
    )
