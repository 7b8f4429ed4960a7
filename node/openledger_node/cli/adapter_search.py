"""The catalogue of a network's adapters, for `adapters search`: what matches, in which order, and as a table."""

from typing import Any

from ..network.catalogue_filter import matches
from .render import out_console, plain, say, show_table
from .units import open_amount


def matching_adapters(found: dict[str, Any], words: str, base: str) -> dict[str, Any]:
    """Keep the offered adapters that all words and the base match.

    Those for the served base come first, then those that have earned most, then those with most sellers.
    """
    offered = [each for each in found["adapters"] if matches(each, words, base)]
    offered.sort(
        key=lambda each: (
            not each["is_our_base"],
            -int(each["earned_wei"] or 0),
            -each["num_sellers"],
            each["full_name"],
        )
    )
    return {**found, "adapters": offered}  # the node has filtered those that nobody offers, before it cut their list


def show_offered(found: dict[str, Any], wanted: str) -> None:
    """Print what other nodes offer, then what is registered and offered by nobody."""
    rows = [
        [
            each["full_name"],
            _base_of(each),
            open_amount(each["price_wei"]) if each["price_wei"] else "–",
            f"{each['num_sellers']}, {each['num_in_memory']} with it in memory",
            taught_by(each),
            earned_by(each),
            "here" if each["is_here"] else "can be pulled" if each["is_our_base"] else "needs its base",
        ]
        for each in found["adapters"]
    ]
    empty = f"no node offers an adapter like {wanted!r} now" if wanted else "no node offers an adapter now"
    columns = ["adapter", "base", "OPEN / 1k in + 1k out", "sellers", "taught by", "earned", ""]
    show_table(columns, rows, empty=empty)
    if rows:
        say("`openledger-node adapters pull NAME` downloads one; sizes and ranks are known once it arrives")
    _show_unoffered(found)
    if others := [each for each in found["bases"] if each["name"] != found["base"]]:
        say(f"other bases on the network: {', '.join(map(_base_text, others))}")


def _show_unoffered(found: dict[str, Any]) -> None:
    if not found["num_unoffered"]:
        return
    out_console.print(f"\nregistered, and offered by no other node now: {found['num_unoffered']}")
    if (left := found["num_unoffered"] - len(found["unoffered"])) > 0:
        say(f"{left} of them are not listed: name a part of an owner, a Datanet or an id to find one")
    rows = [
        [each["full_name"] or f"{each['id'][:18]}…", _base_of(each), taught_by(each), earned_by(each)]
        for each in found["unoffered"]
    ]
    show_table(["adapter", "base", "taught by", "earned"], rows, empty="")


def taught_by(each: dict[str, Any]) -> str:
    """The Datanets that an adapter learned from and their licences, by the chain's word."""
    if each["datanets"] is None:
        return "not registered yet"
    names = [
        (datanet["name"] or f"{datanet['id'][:10]}…") + (f" ({datanet['licence']})" if datanet["licence"] else "")
        for datanet in each["datanets"]
    ]
    return ", ".join(names) or "no Datanet"


def earned_by(each: dict[str, Any]) -> str:
    """The gross of an adapter's answers in claims, which the chain tells for those with Datanets only."""
    if each["num_claims"] is None:
        return "–"
    claims = "1 claim" if each["num_claims"] == 1 else f"{each['num_claims']} claims"
    return f"{open_amount(each['earned_wei'])} in {claims}"


def _base_of(each: dict[str, Any]) -> str:
    return each["base"] or f"another base, {each['base_digest'][:10]}…"


def _base_text(base: dict[str, Any]) -> str:
    sellers = "1 seller" if base["num_sellers"] == 1 else f"{base['num_sellers']} sellers"
    return f"{plain(base['name'] or base['digest'][:10] + '…')} ({sellers})"
