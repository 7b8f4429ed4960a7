"""Another attribution rule on answers that are known: public probes, and a payer's own kept exchanges.

The chain holds no texts, so a rule can't be replayed on all that was paid. A report says how much of it is covered.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from openledger_protocol.adapter import public_probes
from openledger_protocol.constants import PPM
from openledger_protocol.division import apportion
from openledger_protocol.errors import ProtocolError
from openledger_protocol.opening import Opening
from openledger_protocol.payments import Receipt
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, DatanetId

from ..attribution.attributor import Attributor, Exchange
from ..attribution.registry import AdapterRegistry, Registered
from ..attribution.service import exchange_of, registered_shares
from ..attribution.signal_checks import exchange_with_signals
from ..audit.replay import EPOCHS, Replay
from ..engine.tokenizer import Tokenizer
from ..errors import NodeError
from ..home import Home
from ..ledger.ledger import Ledger, open_ledger
from ..models.adapters import Adapter
from ..models.library import list_adapters
from ..payments.kept_texts import find_text
from ..plugs import load_plug, plug_names
from ..settlement.session import NetworkSession
from .replays import find_replay

REPORT_SCHEMA: Final = "openledger.rule_replay/1"
RECEIPTS_MAX: Final = 100_000

LIMITS: Final = (
    "History, not a forecast. The chain holds no texts: probes are answers that an adapter's trainer chose to state, "
    "kept exchanges are those of one payer, and all other answers may be attributed otherwise."
)

Rules = tuple[Attributor, Attributor]
"""The rule in force, and the other one."""

NO_SIGNALS: Final = "its probes are texts alone, and poa-v3 needs signals: --kept replays answers bought by poa-v3"

Kept = Mapping[AdapterId, Sequence[tuple[Receipt, Opening]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighedExchange:
    """A known exchange, the rows that it pays at its time, and its weight: 1 for a probe, or its price."""

    exchange: Exchange
    registered: Registered
    weight: int


def find_rule(algo_id: int) -> Attributor:
    """Open the plug of an attribution rule.

    Raises:
        NodeError: this build has none.
    """
    rules: list[Attributor] = [load_plug("attributor", name)() for name in plug_names("attributor")]
    found = next((rule for rule in rules if rule.algo_id == algo_id), None)
    if found is None:
        raise NodeError(
            f"this node can't run attribution rule {algo_id}, so it can't replay it: it has the rules "
            f"{', '.join(sorted(str(rule.algo_id) for rule in rules))}; install a package with a plug for it"
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReplays:
    """Replays rules with the adapters, texts and chain of this node."""

    home: Home
    session: NetworkSession
    registry: AdapterRegistry
    open_tokenizer: Callable[[], Tokenizer]

    def replay(self, algo_id: int, *, epochs: int = EPOCHS, with_kept: bool = False) -> dict[str, Any]:
        """Replay a rule, and return the report's content without its signature.

        Raises:
            NodeError: this build can't run the rule, or the one that is in force.
            ChainError: the chain can't be asked, or has paid something else than its rules give.
        """
        found = find_replay(self.session, {"algo_id": algo_id}, epochs)
        rules = (find_rule(found.newest.algo_id), find_rule(algo_id))
        work = _Work(self, rules, self._kept(found) if with_kept else {}, self._end_s(found.last_epoch))
        adapters = [work.adapter(AdapterId(id_), gross) for id_, gross in sorted(found.was.gross.items())]
        return {
            "schema": REPORT_SCHEMA,
            "network": found.network,
            "chain_id": self.session.network.chain_id,
            "block": found.block,
            "first_epoch": found.first_epoch,
            "last_epoch": found.last_epoch,
            "algo_was": rules[0].algo_id,
            "algo_would": rules[1].algo_id,
            "gross_wei": str(found.gross_wei),
            "probes_wei": str(sum(int(each["gross_wei"]) for each in adapters if each["num_probes"])),
            "kept_wei": str(sum(int(each["kept_wei"]) for each in adapters)),
            "adapters": adapters,
            "says": LIMITS,
            "node": self.session.accounts.wallet,
            "signer": self.session.accounts.signer,
        }

    def of_adapter(self, adapter_id: AdapterId, algo_ids: tuple[int, int], *, last_epoch: int) -> dict[str, Any]:
        """Compare two rules on the probes of an adapter, as its rows are paid at the end of an epoch.

        Raises:
            NodeError: this build can't run one of them.
        """
        was, would = map(find_rule, algo_ids)
        return _Work(self, (was, would), {}, self._end_s(last_epoch)).adapter(adapter_id, 0)

    def _end_s(self, epoch: int) -> int:
        """The last second of an epoch."""
        return (epoch + 1) * self.session.windows.epoch_s - 1

    def _kept(self, found: Replay) -> dict[AdapterId, list[tuple[Receipt, Opening]]]:
        """The claimed exchanges of these epochs that this node and its guest have bought and kept, by adapter."""
        first_s = found.first_epoch * self.session.windows.epoch_s
        claimed_wei = cache(self.session.deployment.lane_claimed_wei)
        kept: dict[AdapterId, list[tuple[Receipt, Opening]]] = {}
        for receipt, opening in self._bought(self.session.network.network, first_s):
            if receipt.cumulative_wei <= claimed_wei(receipt.channel_id, receipt.adapter_id):
                kept.setdefault(receipt.adapter_id, []).append((receipt, opening))
        return kept

    def _bought(self, network: str, first_s: int) -> Iterator[tuple[Receipt, Opening]]:
        yield from _texts_in(self.home.network(network), self.session.ledger, first_s)
        file = self.home.guest_ledger(network)
        if file.exists():
            with closing(open_ledger(file, is_writer=False)) as of_guest:
                yield from _texts_in(file.parent, of_guest, first_s)


def _texts_in(folder: Path, ledger: Ledger, first_s: int) -> Iterator[tuple[Receipt, Opening]]:
    """Receipts of adapters in one ledger, with their texts if those are kept."""
    for row in ledger.receipts.newest(limit=RECEIPTS_MAX):
        if row.receipt.adapter_id == BASE_ONLY or row.receipt.issued_at_s < first_s:
            continue
        if opening := find_text(folder, ledger, row.digest):
            yield row.receipt, opening


class _Work:
    """Compares two rules, adapter by adapter."""

    def __init__(self, parts: RuleReplays, rules: Rules, kept: Kept, end_s: int) -> None:
        self._parts = parts
        self._rules = rules
        self._kept = kept
        self._end_s = end_s  # probes are paid as of this second
        self._needs_signals = any(rule.needs_signals for rule in rules)
        self._library = {adapter.id: adapter for adapter in list_adapters(parts.home)}

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return self._parts.open_tokenizer()

    def adapter(self, adapter_id: AdapterId, gross_wei: int) -> dict[str, Any]:
        """Compare both rules on the probes and the kept exchanges of an adapter."""
        adapter = self._library.get(adapter_id)
        registered, why_not = self._find(adapter_id, adapter)
        probes = self._probes(adapter, registered) if adapter and registered else []
        kept = self._exchanges(adapter) if adapter and registered else []
        why_none = NO_SIGNALS if self._needs_signals else "its manifest has no probe set"
        return {
            "adapter_id": adapter_id,
            "name": adapter.full_name if adapter else None,
            "gross_wei": str(gross_wei),
            "num_probes": len(probes),
            "num_kept": len(kept),
            "kept_wei": str(sum(each.weight for each in kept)),
            "why_none": why_not or (None if probes else why_none),
            "probes": self._compare(probes),
            "kept": self._compare(kept),
        }

    def _find(self, adapter_id: AdapterId, adapter: Adapter | None) -> tuple[Registered | None, str | None]:
        """Find an adapter's rows, or the reason why its answers can't be attributed here."""
        if adapter_id == BASE_ONLY:
            return None, "the base alone answered, so no data is paid"
        if adapter is None:
            return None, "it is not in this node's library"
        try:
            self._parts.registry.check_complete(self._end_s)
            found = self._parts.registry.find_at(adapter, self._end_s)
        except ProtocolError as error:
            return None, str(error)
        return (found, None) if found.datanet_ids else (None, "no Datanet is paid for it")

    def _probes(self, adapter: Adapter, registered: Registered) -> list[WeighedExchange]:
        if self._needs_signals:
            return []
        return [
            WeighedExchange(
                exchange=exchange_of(probe.prompt, probe.answer, self._tokenizer), registered=registered, weight=1
            )
            for probe in public_probes(adapter.manifest)
        ]

    def _exchanges(self, adapter: Adapter) -> list[WeighedExchange]:
        """The kept exchanges of an adapter that both rules can read, each with the rows paid when it was sold."""
        found = []
        for receipt, opening in self._kept.get(adapter.id, ()):
            registered = self._parts.registry.find_at(adapter, receipt.issued_at_s)
            exchange = exchange_with_signals(opening, registered, self._tokenizer)
            if not self._needs_signals or (registered.has_signals and len(exchange.signals) == len(registered.owned)):
                found.append(WeighedExchange(exchange=exchange, registered=registered, weight=receipt.amount_wei))
        return found

    def _compare(self, exchanges: Sequence[WeighedExchange]) -> list[dict[str, Any]]:
        """Each Datanet's shares under both rules, and the part that moves from one account to another."""
        if not exchanges:
            return []
        was, would = (_shares(rule, exchanges) for rule in self._rules)
        return [
            {
                "datanet_id": datanet_id,
                "moved_ppm": sum(max(0, would[datanet_id][to] - was[datanet_id][to]) for to in would[datanet_id]),
                "was": _rows(was[datanet_id]),
                "would": _rows(would[datanet_id]),
            }
            for datanet_id in sorted(was)
        ]


def _shares(rule: Attributor, exchanges: Sequence[WeighedExchange]) -> dict[DatanetId, Counter[Address]]:
    """Each Datanet's shares over all exchanges, by weight, in ppm; largest remainder, ties to the lower account."""
    weights: dict[DatanetId, Counter[Address]] = {
        datanet_id: Counter() for each in exchanges for datanet_id in each.registered.datanet_ids
    }
    for each in exchanges:
        for share in registered_shares(rule, each.registered, each.exchange):
            weights[share.datanet_id][share.account] += each.weight * share.ppm
    return {datanet_id: _in_ppm(sums) for datanet_id, sums in weights.items()}


def _in_ppm(sums: Counter[Address]) -> Counter[Address]:
    accounts = sorted(sums, key=str.lower)
    return Counter(dict(zip(accounts, apportion(PPM, [sums[each] for each in accounts]), strict=True)))


def _rows(shares: Counter[Address]) -> list[dict[str, Any]]:
    return [{"account": account, "ppm": ppm} for account, ppm in shares.items() if ppm]
