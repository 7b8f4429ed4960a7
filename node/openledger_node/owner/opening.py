"""The owner's desk, composed."""

from collections.abc import Callable
from dataclasses import dataclass

from ..config import Config, LimitsConfig
from ..economy.desk import MoneyDesk
from ..economy.door import NetworkDoor
from ..economy.opening import Place
from ..home import Home
from ..inference.adapters import ShelfReader
from ..inference.engine import Engine
from ..ledger.ledger import Ledger
from ..serving.pinning import PinDesk
from ..serving.service import ServingDesk
from .desk import OwnerDesk
from .limits import Levers, LimitsDesk
from .pause import PauseDesk
from .prices import PriceDesk
from .processes import Lookout
from .status import Parts, StatusDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The parts of a daemon that its owner asks about."""

    home: Home
    config: Config
    place: Place
    url: str
    ledger: Ledger
    engine: Engine
    serving: ServingDesk
    money: MoneyDesk
    door: NetworkDoor
    pins: PinDesk
    refit: Callable[[LimitsConfig], None]  # the engine, to other budgets


def open_owner(node: Node) -> OwnerDesk:
    """Compose what answers the owner; `pauses` of it still wants to be run."""
    config, money, lookout = node.config, node.money, Lookout()
    limits = LimitsDesk(
        node.home,
        config.limits,
        config.payer,
        engine=node.engine,
        serves=config.node.serve,
        levers=Levers(refit=node.refit, cap=money.cap, spent_today_wei=money.spent_today_wei),
    )
    pauses = PauseDesk(
        node.home,
        node.serving,
        node.engine,
        limits=lambda: limits.limits,
        grace_s=config.node.drain_grace_s,
        look=lambda on_gpu: lookout.look(on_gpu=on_gpu),
    )
    statuses = StatusDesk(
        Parts(
            home=node.home,
            config=config,
            place=node.place,
            url=node.url,
            ledger=node.ledger,
            serving=node.serving,
            engine=node.engine,
            money=money,
            door=node.door,
            pauses=pauses,
            limits=limits,
        )
    )
    return OwnerDesk(
        home=node.home,
        config=config,
        url=node.url,
        ledger=node.ledger,
        money=money,
        door=node.door,
        pins=node.pins,
        statuses=statuses,
        prices=PriceDesk(node.home, config.market, apply=money.reprice, view=money.view),
        limits=limits,
        pauses=pauses,
        shelves=ShelfReader(node.home),
    )
