"""Prepaid keys as their seller sees them: keys with credit, what was paid in, and what was charged."""

import re
import time
from collections.abc import Mapping
from typing import Any, Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Wei, wei_from_text

from ..access.keys import ApiKey, ApiKeyRing
from ..errors import InputError
from ..home import Home
from ..ledger.key_credits import KeyCharge, KeyCredit, KeyCredits
from ..ledger.key_days import Income
from ..ledger.ledger import Ledger
from ..text import rfc3339
from .x402_payers import x402_income

CHARGES_SHOWN = 10
NOTE_MAX = 200
ORDER_ID: Final = re.compile(r"[!-~]{1,100}")


class PrepaidKeys:
    """Makes prepaid keys, adds credit to them and shows it."""

    def __init__(self, home: Home, ledger: Ledger) -> None:
        self._ring = ApiKeyRing(home)
        self._ledger = ledger
        self._credits: KeyCredits = ledger.key_credits

    def add(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Make a key `key` with a first credit of `amount_wei`; its secret is in this answer and nowhere else.

        A crash before the credit is written leaves a key without any, which answers nothing. A repeated `order_id`
        makes no second key, and `is_new` is false. The secret may have been lost with the first answer, so the key
        gets another one as long as nothing was charged to it; after that, `secret` is None.

        Raises:
            InputError: the name is taken or not valid, or the order has done something else.
            MalformedError: the amount, the note or the order's id is not valid.
        """
        amount_wei, note = _payment(order)
        order_id, name, now_s = _order_id(order), str(order.get("key")), int(time.time())
        credit = KeyCredit(key=name, added_s=now_s, amount_wei=amount_wei, note=note, order_id=order_id)
        is_new = order_id is None or self._credits.find_order(order_id) is None
        is_known = any(key.name == name for key in self._ring.all())
        if not is_known and (self._credits.credits(name) or self._credits.charges(name, limit=1)):
            raise InputError(f"the ledger has credit or charges of an earlier key {name!r}: choose another name")
        if is_new and not (is_known and order_id is not None and self._is_empty(name)):
            secret: str | None = self._ring.add(name, now_s=now_s, is_prepaid=True)
            self._credits.add(credit)
        else:
            self._credits.add(credit)
            self._check_made_by(order_id, name)
            secret = None if self._credits.charges(name, limit=1) else self._ring.renew(name)
        return {**self.show(name), "secret": secret, "is_new": is_new}

    def _check_made_by(self, order_id: str | None, name: str) -> None:
        """Raise an InputError if an order has added credit to a key that it did not make.

        The key's holder would lose the secret. The credit with which a key was made is its oldest one.
        """
        if self._credits.credits(name)[-1].order_id != order_id:
            raise InputError(
                f"order {order_id!r} has added credit to the key {name!r}, which was made before it and keeps its "
                f"secret: see `openledger-node gateway show {name}`, or give another id and another name"
            )

    def _is_empty(self, name: str) -> bool:
        """True for a prepaid key without credit, which an order left that was cut off by a crash."""
        return self._ring.named(name).is_prepaid and not self._credits.credits(name)

    def credit(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Add credit of `amount_wei` to the key `key`. A repeated `order_id` adds nothing, and `is_new` is false.

        Raises:
            InputError: there is no such key, it is revoked, it is not prepaid, or the order added something else.
            MalformedError: the amount, the note or the order's id is not valid.
        """
        amount_wei, note = _payment(order)
        order_id = _order_id(order)
        key = _check_sold(self._ring.named(str(order.get("key"))))
        is_new = order_id is None or self._credits.find_order(order_id) is None
        now_s = int(time.time())
        self._credits.add(KeyCredit(key=key.name, added_s=now_s, amount_wei=amount_wei, note=note, order_id=order_id))
        return {**self.show(key.name), "is_new": is_new}

    def show(self, name: str) -> dict[str, Any]:
        """The balance of a key, its credits, and its newest charges.

        Raises:
            InputError: there is no such key.
        """
        key = self._ring.named(name)
        return {
            **self._balance(key),
            "credits": [
                {
                    "added": rfc3339(each.added_s),
                    "amount_wei": str(each.amount_wei),
                    "note": each.note,
                    "order": each.order_id,
                }
                for each in self._credits.credits(name)
            ],
            "charges": [_charge_to_plain(each) for each in self._credits.charges(name, limit=CHARGES_SHOWN)],
        }

    def balances(self) -> dict[str, Any]:
        """The balances of all prepaid keys, the income from them, and that from x402 payers."""
        income = self._credits.income()
        return {
            "keys": [self._balance(key) for key in self._ring.all() if key.is_prepaid],
            **income_to_plain(income),
            "x402": x402_income(self._ledger),
        }

    def _balance(self, key: ApiKey) -> dict[str, Any]:
        return {
            "key": key.name,
            "balance_wei": str(self._credits.balance_wei(key.name)),
            "is_revoked": key.revoked_s is not None,
        }


def income_to_plain(income: Income) -> dict[str, str]:
    """Income for JSON."""
    return {"charged_wei": str(income.charged_wei), "cost_wei": str(income.cost_wei)}


def _order_id(order: Mapping[str, Any]) -> str | None:
    """The id of an order in the owner's books; None if it has none.

    Raises:
        MalformedError: it is empty, too long, or has spaces or unprintable characters.
    """
    order_id = order.get("order_id")
    if order_id is None:
        return None
    if not (isinstance(order_id, str) and ORDER_ID.fullmatch(order_id)):
        raise MalformedError(
            f"{order_id!r} can't be the id of an order: use 1 to 100 letters, digits and signs without spaces"
        )
    return order_id


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
