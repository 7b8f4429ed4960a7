"""Prepaid keys as their seller sees them: keys with credit, what was paid in, and what was charged."""

import time
from collections.abc import Mapping
from typing import Any

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Wei, wei_from_text

from ..access.keys import ApiKey, ApiKeyRing
from ..errors import InputError
from ..home import Home
from ..ledger.key_credits import KeyCharge, KeyCredit, KeyCredits
from ..ledger.ledger import Ledger
from ..text import rfc3339

CHARGES_SHOWN = 10
NOTE_MAX = 200


class PrepaidKeys:
    """Makes prepaid keys, adds credit to them and shows it."""

    def __init__(self, home: Home, ledger: Ledger) -> None:
        self._ring = ApiKeyRing(home)
        self._credits: KeyCredits = ledger.key_credits

    def add(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Make a key `key` with a first credit of `amount_wei`; its secret is in this answer and nowhere else.

        A crash before the credit is written leaves a key without any, which answers nothing.

        Raises:
            InputError: the name is taken or not valid.
            MalformedError: the amount or the note is not valid.
        """
        amount_wei, note = _payment(order)
        name, now_s = str(order.get("key")), int(time.time())
        is_known = any(key.name == name for key in self._ring.all())
        if not is_known and (self._credits.credits(name) or self._credits.charges(name, limit=1)):
            raise InputError(f"the ledger has credit or charges of an earlier key {name!r}: choose another name")
        secret = self._ring.add(name, now_s=now_s, is_prepaid=True)
        self._credits.add(KeyCredit(key=name, added_s=now_s, amount_wei=amount_wei, note=note))
        return {**self.show(name), "secret": secret}

    def credit(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Add credit of `amount_wei` to the key `key`.

        Raises:
            InputError: there is no such key, it is revoked, or it is not prepaid.
            MalformedError: the amount or the note is not valid.
        """
        amount_wei, note = _payment(order)
        key = _check_sold(self._ring.named(str(order.get("key"))))
        self._credits.add(KeyCredit(key=key.name, added_s=int(time.time()), amount_wei=amount_wei, note=note))
        return self.show(key.name)

    def show(self, name: str) -> dict[str, Any]:
        """The balance of a key, its credits, and its newest charges.

        Raises:
            InputError: there is no such key.
        """
        key = self._ring.named(name)
        return {
            **self._balance(key),
            "credits": [
                {"added": rfc3339(each.added_s), "amount_wei": str(each.amount_wei), "note": each.note}
                for each in self._credits.credits(name)
            ],
            "charges": [_charge_to_plain(each) for each in self._credits.charges(name, limit=CHARGES_SHOWN)],
        }

    def balances(self) -> dict[str, Any]:
        """The balances of all prepaid keys, and the income from them."""
        charged_wei, cost_wei = self._credits.income_wei()
        return {
            "keys": [self._balance(key) for key in self._ring.all() if key.is_prepaid],
            "charged_wei": str(charged_wei),
            "cost_wei": str(cost_wei),
        }

    def _balance(self, key: ApiKey) -> dict[str, Any]:
        return {
            "key": key.name,
            "balance_wei": str(self._credits.balance_wei(key.name)),
            "is_revoked": key.revoked_s is not None,
        }


def _payment(order: Mapping[str, Any]) -> tuple[Wei, str]:
    amount_wei, note = wei_from_text(order.get("amount_wei"), name="amount_wei"), str(order.get("note") or "")
    if amount_wei == 0:
        raise MalformedError("the credit must be more than 0: name the amount of OPEN that the customer has paid for")
    if len(note) > NOTE_MAX:
        raise MalformedError(f"the note has {len(note)} characters, and at most {NOTE_MAX} are kept: shorten it")
    return amount_wei, note


def _check_sold(key: ApiKey) -> ApiKey:
    if key.revoked_s is not None:
        raise InputError(f"the key {key.name!r} is revoked, so no credit of it can be used: sell a new key")
    if not key.is_prepaid:
        raise InputError(
            f"the key {key.name!r} is not prepaid, so its requests are not charged: sell a new one by "
            "`openledger-node gateway add NAME AMOUNT`"
        )
    return key


def _charge_to_plain(charge: KeyCharge) -> dict[str, Any]:
    return {
        "request_id": charge.hold.request_id,
        "began": rfc3339(charge.hold.began_s),
        "origin": "network" if charge.hold.is_bought else "here",
        "held_wei": str(charge.held_wei),
        "charged_wei": None if charge.charged_wei is None else str(charge.charged_wei),
        "cost_wei": None if charge.cost_wei is None else str(charge.cost_wei),
    }
