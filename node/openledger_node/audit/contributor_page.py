"""A page that shows what any account's rows earned: one HTML file that asks only the endpoint that its reader names.

It holds one network's addresses, and the topics and selectors of the contracts of this release. Its policy allows the
one script and the one style in it, and no resource from anywhere.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Final

from ..chain.contracts import load_contract
from ..network_file import Network

FOLDER: Final = Path(__file__).with_name("page")
SCRIPTS: Final = ("keccak.js", "chain.js", "earnings.js", "view.js")
EVENTS: Final = {
    "PaymentChannels": ("Claimed",),
    "AttributionRewards": ("Proposed", "Drawn", "Finalized", "Credited", "Withdrawn"),
    "DatanetRegistry": ("DatanetCreated",),
}
VIEWS: Final = {"PaymentChannels": ("claimOf",), "AttributionRewards": ("proposalOf", "balanceOf")}


def render_page(network: Network) -> str:
    """The whole page of one network."""
    style = _read("page.css")
    script = "\n".join(_read(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_source(script)}'; style-src '{_source(style)}'; "
        "connect-src http: https:; base-uri 'none'; form-action 'none'"
    )
    page = _read("page.html")
    for name, text in {"policy": policy, "style": style, "network": _facts(network), "script": script}.items():
        page = page.replace("{" + name + "}", text, 1)
    return page


def _facts(network: Network) -> str:
    """The facts of a network that the page needs, as JSON that can stand in a script element."""
    names = sorted({*EVENTS, *VIEWS})
    facts = {
        "network": network.network,
        "chain_id": network.chain_id,
        "genesis_hash": network.genesis_hash,
        "deploy_block": network.deploy_block,
        "rpc": list(network.rpc),
        "symbol": network.token.symbol,
        "contracts": {name: network.contracts[name] for name in names},
        "topics": {event: load_contract(name).topic_of(event) for name, events in EVENTS.items() for event in events},
        "selectors": {
            view: "0x" + load_contract(name).selector(view).hex() for name, views in VIEWS.items() for view in views
        },
    }
    return json.dumps(facts).replace("<", "\\u003c")


def _source(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
