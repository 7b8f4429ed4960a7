"""What is remembered of the last hour's calls."""

from openledger_node.market.bid_history import KEPT_MAX, KEPT_S, CallBook
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, RequestId, Wei

TERMS = Terms(price_in_wei=Wei(2), price_out_wei=Wei(3))


def request(number: int) -> RequestId:
    return RequestId(f"0x{number:064x}")


def test_a_call_is_one_row_whatever_becomes_of_it() -> None:
    book = CallBook(lambda: 0.0)
    book.note(request(1), BASE_ONLY, "bid", terms=TERMS)
    book.note(request(1), BASE_ONLY, "lost", reason="another bid was better: 1 wei in, 2 out, first token in 9 ms")
    (call,) = book.last_hour()
    assert (call.fate, call.price_wei, call.winner_price_wei) == ("lost", 5, 3)


def test_a_reason_without_a_price_names_none() -> None:
    book = CallBook(lambda: 0.0)
    book.note(request(1), BASE_ONLY, "lost", reason="the requester left without a word", terms=TERMS)
    assert book.last_hour()[0].winner_price_wei is None


def test_calls_of_more_than_an_hour_ago_are_forgotten() -> None:
    now = [0.0]
    book = CallBook(lambda: now[0])
    book.note(request(1), BASE_ONLY, "refused")
    now[0] = KEPT_S + 1
    book.note(request(2), BASE_ONLY, "won")
    assert [call.request_id for call in book.last_hour()] == [request(2)]


def test_a_flood_of_calls_takes_no_more_room_than_the_newest() -> None:
    book = CallBook(lambda: 0.0)
    for number in range(KEPT_MAX + 5):
        book.note(request(number), BASE_ONLY, "refused")
    assert len(book.last_hour()) == KEPT_MAX
    assert book.last_hour()[0].request_id == request(5)
