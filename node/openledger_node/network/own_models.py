"""The models that this node can sell now, and how fast it answers."""

import logging
from typing import Final

import trio

from openledger_protocol.errors import AdapterRefusedError, ProtocolError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, AdapterId

from ..attribution.registry import AdapterRegistry
from ..beats import sleep_to_beat
from ..contained import why_failed
from ..engine.engine import Engine
from ..errors import LedgerError, NodeError
from ..market.board import AdTable
from ..market.offer import BID_VALID_S, NEWEST, Sellable, Speeds, speeds_of
from ..market.overview import Priced, priced
from ..market.worth import WorthOf
from ..models.adapters import Adapter
from ..serving.service import Serving

REFRESH_EVERY_S: Final = 3.0

PRICED_MAX: Final = 64
"""The most adapters whose price is compared with other nodes'."""

log = logging.getLogger(__name__)


class OwnModels:
    """The base and the registered adapters of this node; `run` keeps what is known about them fresh."""

    def __init__(self, *, serving: Serving, engine: Engine, registry: AdapterRegistry) -> None:
        self._serving = serving
        self._engine = engine
        self._registry = registry
        self.speeds = Speeds()
        self.sellable: tuple[Adapter, ...] = ()
        self.not_sold: dict[AdapterId, str] = {}  # registered adapters that can't be sold, and why

    async def run(self) -> None:
        """Measure the node's speeds and find the adapters that it may sell, every few seconds."""
        while True:
            waited = set(self._serving.waited_for_load)  # bids add the load themselves, while it must be waited for
            try:
                jobs = [job for job in await self._serving.jobs(NEWEST) if job.request_id not in waited]
                self.speeds = speeds_of(jobs, load_ms=self._engine.beat.load_ms_p95)
                self.sellable = await trio.to_thread.run_sync(self._find_all)
            except (LedgerError, OSError) as error:
                log.warning("this node's speeds and adapters are as they were: %s", why_failed(error))
            await sleep_to_beat(REFRESH_EVERY_S)

    async def find(self, adapter_id: AdapterId) -> Sellable:
        """Find one model, and whether it is in memory.

        Raises:
            UnknownModelError: it is not here.
            AdapterRefusedError: it may not be sold.
        """
        if adapter_id == BASE_ONLY:
            return Sellable(index_root=ZERO_DIGEST, is_warm=True)
        adapter, rule = await trio.to_thread.run_sync(self._find_adapter, adapter_id)
        is_loaded = self._engine.ready_in_s(within_s=BID_VALID_S) == 0
        is_warm = is_loaded and adapter_id in self._engine.beat.resident
        return Sellable(index_root=adapter.manifest.index_root or ZERO_DIGEST, is_warm=is_warm, algo_id=rule)

    def priced(self, terms: Terms, ads: AdTable, worth_of: WorthOf) -> tuple[Priced, ...]:
        """The models that are sold here at these terms, beside the prices of bonded sellers; the base first."""
        base = self._serving.base
        named = [(base.name, BASE_ONLY), *((each.name, each.id) for each in self.sellable[:PRICED_MAX])]
        return tuple(
            priced(name, adapter, terms, [ad for ad in ads.offers(base.digest, adapter) if worth_of(ad).is_bonded])
            for name, adapter in named
        )

    def _find_adapter(self, adapter_id: AdapterId) -> tuple[Adapter, int]:
        """An adapter, and the attribution rule of its answers."""
        adapter = self._serving.catalogue.with_id(adapter_id)
        return adapter, self._registry.check_sellable(adapter)

    def _find_all(self) -> tuple[Adapter, ...]:
        not_sold: dict[AdapterId, str] = {}
        found = tuple(adapter for adapter in self._serving.adapters() if self._is_sellable(adapter, not_sold))
        self.not_sold = not_sold
        return found

    def _is_sellable(self, adapter: Adapter, not_sold: dict[AdapterId, str]) -> bool:
        try:
            self._registry.check_sellable(adapter)
        except AdapterRefusedError as error:
            not_sold[adapter.id] = error.message
            return False
        except (ProtocolError, NodeError):
            return False  # not registered yet, retired, or the chain is away; the next look asks again
        return True
