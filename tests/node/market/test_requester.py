"""A request goes to the best bidder, is paid to the token, and everybody hears how it went."""

from pathlib import Path

from support.markets import open_street
from support.sides import TERMS

from openledger_protocol.payments import price_wei


async def test_the_cheapest_of_equal_nodes_answers_and_is_paid_to_the_token(tmp_path: Path) -> None:
    async with open_street(tmp_path, {"dear": 3, "cheap": 1, "middling": 2}) as street:
        shown: list[str] = []
        answered = await street.ask("hello...", show=shown.append)
        await street.stands["cheap"].wait_served(1)
        theirs = street.stands["cheap"].amounts()
        paid = street.paid()
        lost = {name: [bid.reason for bid in stand.bidder.lost] for name, stand in street.stands.items()}
    price = price_wei(8, 30, TERMS)
    assert (answered.paid_wei, paid, theirs) == (price, {"cheap": [price]}, [price])
    assert answered.text == "".join(shown)
    assert (len(answered.text), answered.tokens_in, answered.tokens_out) == (30, 8, 30)
    assert answered.finish_reason == "length"
    assert lost["cheap"] == []
    for name in ("dear", "middling"):
        assert lost[name] == [
            "another bid was better: 1000000 wei in, 4000000 out, first token in 8 ms, then 50 a second"
        ]
