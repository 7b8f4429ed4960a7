"""Reading of what a version has beside its rows: offers of contributors, appeals, and decisions of curators."""

from collections.abc import Collection, Mapping

from openledger_protocol.curation import CURATORS_MAX, VersionDecision, decision_from_json
from openledger_protocol.errors import MalformedError
from openledger_protocol.offer import RowOffer, offer_from_json
from openledger_protocol.primitives import Address, Digest, check_digest

from .appeals import DecidedAppeal, check_reason
from .gate import checked_fields


def offers_from_json(content: object, accounts: Mapping[Digest, Address]) -> tuple[RowOffer, ...]:
    """Read the offers of a version whose rows have these accounts; their signatures are not checked.

    Raises:
        MalformedError: one is malformed, or its rows are not of its account.
    """
    if not isinstance(content, list) or len(content) > len(accounts):  # or a peer could have us check any number
        raise MalformedError("a version's offers must be a list, at most one for each row")
    offers = tuple(map(offer_from_json, content))
    for offer in offers:
        theirs = [accounts[digest] for digest in offer.rows if digest in accounts]
        if not theirs:
            raise MalformedError(f"an offer of {offer.account} is for none of the version's rows")
        if any(account != offer.account for account in theirs):
            raise MalformedError(f"a row that {offer.account} has offered is of another account in this version")
    return offers


def appeals_from_json(content: object, ours: Collection[Digest], most: int) -> tuple[DecidedAppeal, ...]:
    """Read the appeals of a version with the rows `ours`.

    Raises:
        MalformedError: one is malformed, or for none of the rows.
    """
    if not isinstance(content, list) or len(content) > most:
        raise MalformedError("a version's appeals must be a list, at most one for each row")
    found = [checked_fields(DecidedAppeal, each) for each in content]
    if any(check_digest(each["digest"]) not in ours for each in found):
        raise MalformedError("an appeal is for none of the version's rows")
    if any(type(each["upheld"]) is not bool for each in found):
        raise MalformedError("a version's appeals must be upheld or not")
    return tuple(
        DecidedAppeal(
            digest=check_digest(each["digest"]),
            upheld=each["upheld"],
            because=check_reason(each["because"]),
            reason=check_reason(each["reason"]),
        )
        for each in found
    )


def decisions_from_json(content: object, roots: tuple[Digest, Digest]) -> tuple[VersionDecision, ...]:
    """Read the decisions on a version with these roots; their signatures are not checked.

    Raises:
        MalformedError: one is malformed, or on another version.
    """
    if not isinstance(content, list) or len(content) > CURATORS_MAX:
        raise MalformedError(f"a version's decisions must be a list of at most {CURATORS_MAX}")
    decisions = tuple(map(decision_from_json, content))
    if any((each.rows_root, each.contributors_root) != roots for each in decisions):
        raise MalformedError("a decision of a curator is on another version")
    return decisions
