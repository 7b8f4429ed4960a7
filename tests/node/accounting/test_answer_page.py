"""An answer as one file: it opens without a node, runs nothing and loads nothing."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from support.chain_world.seller import Seller

from openledger_node.accounting.answer_page import answer_page
from openledger_node.errors import NodeError
from openledger_node.models.adapters import Adapter
from openledger_node.payments.bought_texts import BoughtTexts
from openledger_protocol.primitives import BASE_ONLY

QUESTION = "What does Odile keep?"
HOSTILE = "<script>alert(1)</script>\"'><img src=//x onerror=alert(2)> \u202etxet &amp;"
DATANET, ROW, OTHER_ROW = "0x" + "d" * 64, "0x" + "1" * 64, "0x" + "2" * 64
ACCOUNT = "0x" + "a" * 40


class Tags(HTMLParser):
    """Collects the tags and attributes of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Tags:
    found = Tags()
    found.feed(page)
    return found


def row(digest: str = ROW, **fields: Any) -> dict[str, Any]:
    return {
        "row": digest,
        "datanet_id": DATANET,
        "datanet": HOSTILE,
        "published": "2026-11-29T17:00:00Z",
        "account": ACCOUNT,
        "name": HOSTILE,
        "number": 1,
        "ppm": 1_000_000,
        "text": f"the row says {HOSTILE}",
        "marks": [{"begin": 0, "end": 7}],
        **fields,
    }


def receipt(**fields: Any) -> dict[str, Any]:
    person = {"number": 1, "account": ACCOUNT, "name": HOSTILE, "pays": "contributor", "ppm": 1_000_000}
    span = {"begin": 0, "end": 10, "tokens": 6, "row": ROW, "account": ACCOUNT, "number": 1}
    return {
        "digest": "0x" + "9" * 64,
        "question": f"{HOSTILE}\nand more",
        "answer": f"the answer {HOSTILE}",
        "text": {"says": "its text was deleted"},
        "adapter": HOSTILE,
        "adapter_id": "0x" + "5" * 64,
        "node": "0x" + "b" * 40,
        "payer": "0x" + "c" * 40,
        "issued_at": "2026-11-29T17:15:02Z",
        "amount_wei": "113000000000000",
        "is_countersigned": True,
        "teaching": {
            "algorithm": "suffix-v1",
            "people": [{**person, "amount_wei": "22600000000000", "rows": 1}],
            "part_wei": "22600000000000",
            "tokens": 10,
            "tokens_matched": 6,
            "spans": [span],
            "rows": [row(), row(OTHER_ROW, ppm=0)],
            "datanets": [{"datanet_id": DATANET}],
        },
        **fields,
    }


def test_a_saved_answer_runs_nothing_loads_nothing_and_escapes_what_anybody_wrote() -> None:
    page = answer_page(receipt(), is_development=True)
    found = read(page)
    names = {tag for tag, _ in found.tags}
    assert names.isdisjoint({"script", "img", "iframe", "object", "embed", "link", "form", "base", "svg"})
    attributes = {name for _, given in found.tags for name in given}
    assert attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "title"} | {
        "aria-hidden"
    }
    links = [given["href"] for tag, given in found.tags if tag == "a"]
    assert links == ["#r-" + "1" * 16]
    assert "r-" + "1" * 16 in {given.get("id") for _, given in found.tags}
    assert "\u202e" not in page
    assert "\\u202etxet &amp;" in found.text  # shown, and its "&amp;" is still the text's own
    assert found.text.count("<script>alert(1)</script>") >= 6
    assert re.findall(r"url\(|@import|https?:", page) == []
    policy = next(given["content"] for _, given in found.tags if given.get("http-equiv"))
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_saved_answer_names_shares_the_receipt_and_what_is_not_proven() -> None:
    text = read(answer_page(receipt(), is_development=True)).text
    command = f"openledger-node attribution verify 0x{'9' * 64}"
    for words in ("100.0 %", "0.0000226 OPEN", "play money", "60 % of its tokens", command, "proves nothing alone"):
        assert words in text
    assert "c" * 40 not in text  # the payer's wallet
    assert "play money" not in read(answer_page(receipt(), is_development=False)).text
    unsigned = read(answer_page(receipt(is_countersigned=False), is_development=True)).text
    assert "signed by the node, but not by the payer" in unsigned
    with pytest.raises(NodeError, match="can't be saved as a page: its text was deleted"):
        answer_page(receipt(answer=None, question=None), is_development=True)


def test_a_saved_answer_that_nobody_taught_says_so() -> None:
    found = receipt(adapter_id=BASE_ONLY, adapter=None)
    treasury = {"number": 0, "account": ACCOUNT, "name": None, "pays": "treasury", "ppm": 10**6, "amount_wei": "1"}
    for people, words in (([], "The base model alone answered"), ([treasury], "No row supports this answer")):
        found["teaching"] |= {"people": people, "rows": [], "spans": [], "datanets": []}
        assert words in read(answer_page(found, is_development=True)).text


async def test_an_answer_can_be_shown_and_saved_until_its_time_is_over(seller: Seller, adapter: Adapter) -> None:
    bought = await seller.ask(QUESTION, model="lake")
    node, network = seller.world.node, seller.world.node.network.network
    (row_here,) = node.ledger.receipts.find(bought.digest)
    end = seller.world.payer.ledger.texts.find_end(bought.digest, now_ns=0)
    assert end is not None
    for now_ns, state in ((end.end_ns - 1, "kept"), (end.end_ns + 1, "gone")):
        texts = BoughtTexts(seller.home, network, node.ledger, keep_s=1e6, now_ns=lambda now=now_ns: now)
        standing = texts.standing(row_here, is_own=False)
        assert standing.state == state
        assert (texts.find(bought.digest) is not None) == (state == "kept")
        assert (standing.until_s or standing.since_s) == end.end_ns // 10**9
    saved = seller.questions.answer("answer_page", {"receipt": bought.digest})
    text = read(re.sub(r"<sup>.*?</sup>", "", saved["html"])).text
    assert saved["digest"] == bought.digest
    assert QUESTION in text
    assert bought.text in text
    after = seller.questions.answer("receipt", {"receipt": bought.digest})
    assert (after["question"], after["answer"], after["text"]["state"]) == (QUESTION, bought.text, "kept")

    seller.world.payer.ledger._store.rows("DELETE FROM text")
    none = BoughtTexts(seller.home, network, node.ledger, keep_s=0).standing(row_here, is_own=False)
    assert (none.state, none.until_s, none.since_s) == ("not_kept", None, None)
    assert "openledger-node config set payer.keep_texts_s 86400" in none.says
    seller.home.guest_ledger(network).unlink()
    sold = BoughtTexts(seller.home, network, node.ledger, keep_s=0).standing(row_here, is_own=False)
    assert sold.state == "sold"
    assert "only the payer may keep it" in sold.says
