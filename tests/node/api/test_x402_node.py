"""A running node sells answers to a payer without a key, and the charge becomes OPEN of its wallet."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.processes.nodes import command_json, wait_for
from support.x402_site import KEY, PAYER, X402Site, ask, open_x402_site

from openledger_protocol.primitives import Salt, Wei, check_address
from openledger_protocol.signatures import sign_digest
from openledger_protocol.x402 import (
    X402Channel,
    header_from_plain,
    x402_channel_id,
    x402_domain,
    x402_voucher_digest,
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[X402Site]:
    with open_x402_site(tmp_path, monkeypatch) as opened:
        yield opened


def read(text: str) -> Any:
    return json.loads(base64.b64decode(text))


def payment(site: X402Site, requirements: dict[str, Any], ceiling_wei: int, *, deposit_wei: int = 0) -> str:
    """The header of a payer who follows the terms."""
    extra = requirements["extra"]
    channel = X402Channel(
        payer=PAYER,
        payer_authorizer=PAYER,
        receiver=check_address(requirements["payTo"]),
        receiver_authorizer=check_address(extra["receiverAuthorizer"]),
        token=check_address(requirements["asset"]),
        withdraw_delay_s=extra["withdrawDelay"],
        salt=Salt("0x" + "0" * 64),
    )
    domain = x402_domain(site.network.chain_id)
    key = x402_channel_id(domain, channel)
    signature = "0x" + sign_digest(KEY, x402_voucher_digest(domain, key, Wei(ceiling_wei))).hex()
    voucher = {"channelId": key, "maxClaimableAmount": str(ceiling_wei), "signature": signature}
    payload: dict[str, Any] = {"type": "voucher", "channelConfig": channel.to_plain(), "voucher": voucher}
    if deposit_wei:
        payload |= {"type": "deposit", "deposit": {"amount": str(deposit_wei), "authorization": {}}}
    return header_from_plain({"x402Version": 2, "accepted": requirements, "payload": payload})


def test_a_payer_deposits_asks_twice_and_the_owner_is_paid(site: X402Site) -> None:
    before_wei = site.balance()
    refused = ask(site)
    assert refused.status_code == 402, refused.text
    assert refused.json()["error"]["code"] == "payment_required"
    (requirements,) = read(refused.headers["PAYMENT-REQUIRED"])["accepts"]
    amount = int(requirements["amount"])
    first = ask(site, PAYMENT_SIGNATURE=payment(site, requirements, amount, deposit_wei=1_000))
    assert first.status_code == 200, first.text
    told = read(first.headers["PAYMENT-RESPONSE"])
    charged = int(told["extra"]["chargedAmount"])
    usage = first.json()["usage"]
    assert charged == usage["prompt_tokens"] + 4 * usage["completion_tokens"]
    assert (told["amount"], told["extra"]["channelState"]["balance"]) == ("1000", "1000")
    second = ask(site, PAYMENT_SIGNATURE=payment(site, requirements, charged + amount))
    assert second.status_code == 200, second.text
    total = int(read(second.headers["PAYMENT-RESPONSE"])["extra"]["channelState"]["chargedCumulativeAmount"])
    assert site.payers()["unclaimed_wei"] == str(total)
    command_json(site.node.home, "gateway", "claim")
    assert wait_for(lambda: (site.balance() - before_wei) or None, within_s=120) == total
