"""A page that shows what any account's rows earned, and withdraws it: one HTML file that asks one endpoint.

It holds one network's addresses, and the topics and selectors of its contracts. Its policy allows the one script and
the one style in it, and no connection but that to the endpoint.
"""

import base64
import hashlib
import json
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..chain.contracts import load_contract
from ..network_file import Network

TEMPLATE: Final = Path(__file__).with_suffix(".html")


def render_page(network: Network) -> str:
    """Write the page of one network, which asks the network's first endpoint."""
    page = TEMPLATE.read_text(encoding="utf-8")
    script, style = _hash(page, '<script type="module">', "</script>"), _hash(page, "<style>", "</style>")
    endpoint = urlsplit(network.rpc[0])
    policy = (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; "
        f"connect-src {endpoint.scheme}://{endpoint.netloc}; base-uri 'none'; form-action 'none'"
    )
    return page.replace("{policy}", escape(policy), 1).replace("{network}", _facts(network), 1)


def _facts(network: Network) -> str:
    """The facts of a network that the page needs, as JSON that can stand in a script element."""
    rewards = load_contract("AttributionRewards")
    facts = {
        "name": network.network,
        "chain_id": network.chain_id,
        "genesis_hash": network.genesis_hash,
        "deploy_block": network.deploy_block,
        "rpc": network.rpc[0],
        "symbol": network.token.symbol,
        "rewards": network.contracts["AttributionRewards"],
        "credited": rewards.topic_of("Credited"),
        "withdrawn": rewards.topic_of("Withdrawn"),
        "balanceOf": "0x" + rewards.selector("balanceOf").hex(),
        "withdraw": "0x" + rewards.selector("withdraw").hex(),
    }
    return json.dumps(facts).replace("<", "\\u003c")


def _hash(page: str, begin: str, end: str) -> str:
    """The source of a script or style in the policy."""
    text = page.partition(begin)[2].partition(end)[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
