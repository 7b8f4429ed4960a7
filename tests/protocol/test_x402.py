"""x402 headers and signatures: payments made by the scheme's JavaScript package, and headers that are refused."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.signatures import recover_address
from openledger_protocol.x402 import (
    HEADER_LENGTH_MAX,
    X402Terms,
    header_from_plain,
    payment_required_to_plain,
    requirements_to_plain,
    x402_channel_id,
    x402_domain,
    x402_payment_from_header,
    x402_voucher_digest,
)

VECTORS = json.loads((Path(__file__).parents[1] / "support" / "x402_payments.json").read_text())
DOMAIN = x402_domain(31337)


def header_with(change: Any) -> str:
    """A whole header of the package, after a change of its payload."""
    plain = json.loads(base64.b64decode(VECTORS["payments"][1]["header"]))
    change(plain)
    return header_from_plain(plain)


@pytest.mark.parametrize("made", VECTORS["payments"], ids=lambda made: made["name"])
def test_payments_of_the_javascript_package_are_read_and_their_signer_is_found(made: dict[str, Any]) -> None:
    payment = x402_payment_from_header(made["header"])
    assert x402_channel_id(DOMAIN, payment.channel) == payment.voucher.channel_id == made["channelId"]
    assert payment.voucher.max_claimable_wei == int(made["maxClaimableAmount"])
    digest = x402_voucher_digest(DOMAIN, payment.voucher.channel_id, payment.voucher.max_claimable_wei)
    assert recover_address(digest, payment.voucher.signature) == made["signer"]
    assert payment.channel.payer_authorizer == made["signer"]


def test_terms_are_those_that_the_package_was_given() -> None:
    given = VECTORS["requirements"]
    terms = X402Terms(
        chain_id=31337,
        asset=Address(given["asset"]),
        pay_to=Address(given["payTo"]),
        receiver_authorizer=Address(given["extra"]["receiverAuthorizer"]),
        withdraw_delay_s=86_400,
        token_name="OpenLedger",
        token_version="1",
    )
    assert requirements_to_plain(terms, Wei(1000)) == given
    required = payment_required_to_plain(given, url="http://a/v1", error="e", has_gas_sponsoring=True)
    assert required["x402Version"] == 2
    assert required["accepts"] == [given]
    assert required["extensions"]["eip2612GasSponsoring"]["info"]["version"] == "1"


REFUSED = [
    ("not base64", "not base64 of JSON", lambda: "!!!"),
    ("not JSON", "not base64 of JSON", lambda: base64.b64encode(b"{").decode()),
    ("a list", "version 2", lambda: header_from_plain([])),  # type: ignore[arg-type]
    ("too deep", "not base64 of JSON", lambda: base64.b64encode(b"[" * 9_000).decode()),
    ("too long", "at most", lambda: "A" * (HEADER_LENGTH_MAX + 1)),
    ("version 1", "version 2", lambda: header_with(lambda plain: plain.update(x402Version=1))),
    ("no payload", "no object 'payload'", lambda: header_with(lambda plain: plain.pop("payload"))),
    ("no terms", "no object 'accepted'", lambda: header_with(lambda plain: plain.update(accepted=3))),
    ("another type", "type 'claim'", lambda: header_with(lambda plain: plain["payload"].update(type="claim"))),
    ("no channel", "channelConfig", lambda: header_with(lambda plain: plain["payload"].pop("channelConfig"))),
    ("a short payer", "not an address", lambda: header_with(lambda p: _config(p).update(payer="0x12"))),
    ("a delay as text", "whole number", lambda: header_with(lambda p: _config(p).update(withdrawDelay="900"))),
    ("a negative delay", "whole number", lambda: header_with(lambda p: _config(p).update(withdrawDelay=-1))),
    ("a huge delay", "whole number", lambda: header_with(lambda p: _config(p).update(withdrawDelay=1 << 40))),
    ("a true delay", "whole number", lambda: header_with(lambda p: _config(p).update(withdrawDelay=True))),
    ("a short salt", "not a digest", lambda: header_with(lambda p: _config(p).update(salt="0x00"))),
    ("an amount as number", "decimal text", lambda: header_with(lambda p: _signed(p).update(maxClaimableAmount=5))),
    ("a negative amount", "decimal text", lambda: header_with(lambda p: _signed(p).update(maxClaimableAmount="-5"))),
    (
        "an amount over 2^128",
        "not an amount",
        lambda: header_with(lambda p: _signed(p).update(maxClaimableAmount=str(2**128))),
    ),
    ("a signature without hex", "not hex", lambda: header_with(lambda p: _signed(p).update(signature="0xzz"))),
    ("a long signature", "65 bytes", lambda: header_with(lambda p: _signed(p).update(signature="0x" + "00" * 66))),
    ("no deposit", "no object 'deposit'", lambda: header_with(_without_deposit)),
    ("a deposit as number", "decimal text", lambda: header_with(lambda p: _deposit(p).update(amount=5))),
    ("no signature", "not a text", lambda: header_with(lambda p: _signed(p).pop("signature"))),
]


def _deposit(plain: Any) -> Any:
    plain["payload"] |= {"type": "deposit", "deposit": {}}
    return plain["payload"]["deposit"]


def _without_deposit(plain: Any) -> None:
    _deposit(plain)
    plain["payload"].pop("deposit")


def _config(plain: Any) -> Any:
    return plain["payload"]["channelConfig"]


def _signed(plain: Any) -> Any:
    return plain["payload"]["voucher"]


@pytest.mark.parametrize(("why", "header"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_a_malformed_header_is_refused(why: str, header: Any) -> None:
    with pytest.raises(MalformedError, match=why):
        x402_payment_from_header(header())
