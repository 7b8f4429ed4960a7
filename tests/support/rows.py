"""Rows of ledgers for tests that need some: blocks, events and jobs; and a network to keep them for."""

from datetime import date
from typing import Any

from openledger_node.home import DEVELOPMENT_PREFIX
from openledger_node.ledger.jobs import Job
from openledger_node.ledger.ledger import Ledger
from openledger_node.network_file import CONTRACTS, CoinPrice, Network, Token
from openledger_protocol.events import BlockId, Event
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Digest, RequestId, Wei, check_address


def block_of(number: int) -> BlockId:
    """The block of this number, on a chain without reorgs."""
    return BlockId(number=number, hash=Digest(f"0x{number:064x}"))


def event_of(
    event: str, arguments: dict[str, Any], *, block: int = 1, index: int = 0, contract: Address = ZERO_ADDRESS
) -> Event:
    """An event of a contract; each block has one transaction."""
    return Event(
        contract=contract,
        name=event,
        arguments=arguments,
        block=block_of(block),
        transaction_hash=block_of(block).hash,
        log_index=index,
    )


def append_event(ledger: Ledger, event: str, arguments: dict[str, Any], **place: Any) -> None:
    """Have a ledger read a block with one event."""
    read = event_of(event, arguments, **place)
    ledger.events.append([read.block], [read])


def job_of(request_id: str, **changes: Any) -> Job:
    """A job of the fake base that is running."""
    fields = {"received_ns": 1, "base": "fake", "adapter_id": None, "adapter_name": None, "state": "running"}
    return Job(**{"request_id": RequestId(request_id), **fields, "tokens_in": 1, **changes})


def network_named(name: str = "development-1a1a1a1a", **changes: Any) -> Network:
    """A network that nobody runs; one for real money has a price of a coin that never grows old."""
    price = None if name.startswith(DEVELOPMENT_PREFIX) else CoinPrice(open_wei=Wei(10**18), on=date(2999, 1, 1))
    fields = {
        "chain_id": 31337,
        "rpc": ("http://127.0.0.1:1",),
        "genesis_hash": Digest("0x" + "1a" * 32),
        "deploy_block": 1,
        "contracts": {each: check_address(f"0x{number:040x}") for number, each in enumerate(CONTRACTS, 1)},
        "bootstrap": (),
        "token": Token(symbol="OPEN", decimals=18),
        "coin_price": price,
    }
    return Network(**{"network": name, **fields, **changes})
