"""A paid answer with its marks as one HTML file, which anybody can open without a node.

It runs no script and loads nothing. All texts in it are escaped, because peers may have written them. The payer's
wallet is left out.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from openledger_protocol.primitives import BASE_ONLY

from ..errors import NodeError
from ..text import open_text, shown

Receipt = Mapping[str, Any]
"""A receipt in its full form, as the query `receipt` answers it."""

TELLING_PPM = 5_000
COLOURS = 4
STYLE = """
:root { color-scheme: light dark;
  --bg: light-dark(#faf9f7, #131416); --surface: light-dark(#fff, #1a1c1f); --sunken: light-dark(#f3f1ec, #22252a);
  --line: light-dark(#e4e1da, #2f3238); --ink: light-dark(#1b1c1f, #e9e8e4); --ink2: light-dark(#4f5156, #bcbdbf);
  --ink3: light-dark(#66686d, #9c9ea3); --accent: light-dark(#2450b2, #93b4ff);
  --p1: light-dark(#9a5b00, #e3b455); --s1: light-dark(#fbedcf, #3a2e14);
  --p2: light-dark(#0b726d, #5cc7c0); --s2: light-dark(#d6efec, #143330);
  --p3: light-dark(#a02b76, #f08fc6); --s3: light-dark(#f8e0ee, #3b1c30);
  --p4: light-dark(#5548c8, #aca4ff); --s4: light-dark(#e5e3fa, #29264a);
  --p0: light-dark(#66686d, #9c9ea3); --s0: light-dark(#ebe9e4, #2a2d32); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 14px/20px system-ui, -apple-system, "Segoe UI",
  Roboto, "Noto Sans", sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
main { max-width: 760px; margin: 0 auto; padding: 32px 20px 48px; }
h1 { font-size: 20px; line-height: 28px; font-weight: 600; margin: 4px 0 16px; white-space: pre-wrap; }
h2 { font-size: 14px; font-weight: 600; margin: 32px 0 8px; }
p { margin: 0 0 8px; }
a { color: inherit; text-decoration: none; }
.note { color: var(--ink3); font-size: 12px; line-height: 16px; }
.answer { background: var(--surface); border: 1px solid var(--line); border-radius: 8px; padding: 20px 24px;
  font-size: 16px; line-height: 28px; white-space: pre-wrap; margin: 0; }
mark { background: var(--s); color: inherit; border-bottom: 2px solid var(--p); padding: 1px 0; }
mark a:focus-visible, tr:target, li:target { outline: 2px solid var(--accent); outline-offset: 2px; }
sup { font-size: 11px; line-height: 0; color: var(--p); margin-left: 2px; font-weight: 600; }
.shares { display: flex; height: 10px; border-radius: 4px; overflow: hidden; margin: 12px 0; gap: 1px; }
.shares i { background: var(--p); min-width: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; line-height: 18px; }
th, td { padding: 6px 8px 6px 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 400; font-size: 12px; color: var(--ink3); }
.proof th { white-space: nowrap; padding-right: 16px; }
td.n, th.n { text-align: right; padding-right: 0; padding-left: 12px; white-space: nowrap; overflow-wrap: normal; }
b { display: inline-block; min-width: 18px; padding: 0 4px; border-radius: 4px; background: var(--s); color: var(--p);
  text-align: center; font-weight: 600; font-size: 12px; margin-right: 8px; }
ul { list-style: none; margin: 0; padding: 0; }
li { background: var(--surface); border: 1px solid var(--line); border-left: 3px solid var(--p); border-radius: 4px;
  padding: 10px 14px; margin: 0 0 8px; }
li p { white-space: pre-wrap; margin: 4px 0 0; }
.proof p { max-width: 68ch; color: var(--ink2); }
code { font: 12px/18px ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace;
  background: var(--sunken); padding: 2px 6px; border-radius: 4px; }
pre { background: var(--sunken); border-radius: 4px; padding: 8px 12px; white-space: pre-wrap; margin: 8px 0; }
pre code { padding: 0; background: none; }
.c1 { --p: var(--p1); --s: var(--s1); } .c2 { --p: var(--p2); --s: var(--s2); }
.c3 { --p: var(--p3); --s: var(--s3); } .c4 { --p: var(--p4); --s: var(--s4); }
.c0 { --p: var(--p0); --s: var(--s0); }
"""


def answer_page(receipt: Receipt, *, is_development: bool) -> str:
    """Write the answer of a receipt, its marks, rows and contributors as a self-contained HTML document.

    `is_development`: it was paid with play money.

    Raises:
        NodeError: its text is not here, so there is nothing to show.
    """
    if receipt["answer"] is None:
        raise NodeError(f"this answer can't be saved as a page: {receipt['text']['says']}")
    teaching = receipt["teaching"]
    style = STYLE + _widths(teaching["people"])
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    parts = [
        "<main>",
        f'<p class="note">{_origin(receipt, is_development)}</p>',
        f"<h1>{_text(receipt['question'])}</h1>",
        f'<p class="answer">{_marked_answer(receipt)}</p>',
        *_people(receipt),
        *_rows(teaching),
        *_proof(receipt),
        "</main>",
    ]
    body = "\n".join(parts)
    title = _text(receipt["question"].strip().splitlines()[0][:80] if receipt["question"].strip() else "An answer")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title} · who taught this answer</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _text(text: object) -> str:
    """A text of anybody's, so that it stays a text: controls are shown, and markup is escaped."""
    return escape(shown(str(text)))


def _origin(receipt: Receipt, is_development: bool) -> str:
    adapter = receipt["adapter"] or ("the base alone" if receipt["adapter_id"] == BASE_ONLY else "an adapter")
    when = receipt["issued_at"][:16].replace("T", " ")
    money = " of play money, on a development network" if is_development else ""
    return f"Answered by {_text(adapter)} on {when} UTC, for {open_text(int(receipt['amount_wei']))}{money}"


# ---- the answer


def _marked_answer(receipt: Receipt) -> str:
    rows = {row["row"] for row in receipt["teaching"]["rows"]}

    def mark(words: str, span: Mapping[str, Any]) -> str:
        number = span["number"] or "…"
        inner = f"{_text(words)}<sup>{number}</sup>"
        link = f'<a href="#{_anchor(span["row"])}">{inner}</a>' if span["row"] in rows else inner
        return f'<mark class="{_colour(span["number"])}">{link}</mark>'

    return _marked(receipt["answer"], receipt["teaching"]["spans"], mark)


def _marked(text: str, spans: Sequence[Mapping[str, Any]], mark: Any) -> str:
    parts, at = [], 0
    for span in spans:
        if span["begin"] < at or span["end"] > len(text):
            continue
        parts += [_text(text[at : span["begin"]]), mark(text[span["begin"] : span["end"]], span)]
        at = span["end"]
    return "".join([*parts, _text(text[at:])])


def _colour(number: int) -> str:
    return f"c{number if 1 <= number <= COLOURS else 0}"


def _anchor(row: str) -> str:
    return f"r-{_text(row)[2:18]}"


# ---- people


def _name(person: Mapping[str, Any]) -> str:
    if person["pays"] == "treasury":
        return "the Datanet's treasury"
    account = str(person["account"])
    short = f"{account[:6]}…{account[-4:]}"
    name = f'{_text(person["name"])} <span class="note">{short}</span>' if person["name"] else short
    return f'<span title="{_text(account)}">{name}</span>'


def _percent(ppm: int) -> str:
    return f"{ppm // 1_000 / 10:.1f} %"  # never rounded up to a whole


def _widths(people: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f".w{n} {{ flex: {person['ppm']} 0 0; }}\n" for n, person in enumerate(people) if person["ppm"])


def _people(receipt: Receipt) -> list[str]:
    teaching = receipt["teaching"]
    people, head = teaching["people"], "<h2>Who taught this answer</h2>"
    if not people:
        return [head, "<p>The base model alone answered. No adapter had a part in it, so nobody's data is paid.</p>"]
    if all(person["pays"] == "treasury" for person in people):
        paid = open_text(int(teaching["part_wei"]))
        return [head, f"<p>No row supports this answer. Its data part, {paid}, goes to the Datanet's treasury.</p>"]
    bar = "".join(f'<i class="{_colour(each["number"])} w{n}"></i>' for n, each in enumerate(people) if each["ppm"])
    matched = ""
    if teaching["tokens"]:
        percent = round(100 * teaching["tokens_matched"] / teaching["tokens"])
        matched = f'<p class="note">{percent} % of its tokens stand word for word in rows that these people gave.</p>'
    lines = [
        f'<tr><td><b class="{_colour(each["number"])}">{each["number"] or "–"}</b>{_name(each)}</td>'
        f'<td class="n">{_percent(each["ppm"])}</td><td class="n">{open_text(int(each["amount_wei"]))}</td></tr>'
        for each in people
    ]
    columns = '<tr><th>Contributor</th><th class="n">Share</th><th class="n">Earns</th></tr>'
    return [
        head,
        matched,
        f'<div class="shares" aria-hidden="true">{bar}</div>',
        f"<table>{columns}",
        *lines,
        "</table>",
    ]


# ---- rows


def _rows(teaching: Mapping[str, Any]) -> list[str]:
    marked = {span["row"] for span in teaching["spans"]}
    rows = [row for row in teaching["rows"] if row["row"] in marked or row["ppm"] >= TELLING_PPM]
    if not rows:
        return []
    left_out = len(teaching["rows"]) - len(rows)
    more = [f'<p class="note">{left_out} more with less than 0.5 % each are left out.</p>'] if left_out else []
    return ["<h2>The rows that it comes from</h2>", "<ul>", *(_row(row) for row in rows), "</ul>", *more]


def _row(row: Mapping[str, Any]) -> str:
    person = row["name"] or f"{row['account'][:6]}…{row['account'][-4:]}"
    about = [
        f"{_text(person)}, {_percent(row['ppm'])}",
        f"Datanet {_text(row['datanet'])}",
        f"row {row['row'][:10]}…",
    ]
    if row["published"]:
        about.append(f"published {row['published'][:10]}")
    text = _marked(row["text"], row["marks"], lambda words, _: f"<mark>{_text(words)}</mark>")
    head = f'<span class="note">{" · ".join(about)}</span>'
    return f'<li id="{_anchor(row["row"])}" class="{_colour(row["number"])}">{head}<p>{text}</p></li>'


# ---- what is proven


def _proof(receipt: Receipt) -> list[str]:
    by = "the node and by the payer" if receipt["is_countersigned"] else "the node, but not by the payer"
    method = _text(receipt["teaching"]["algorithm"])
    return [
        '<div class="proof">',
        "<h2>What is proven, and what is not</h2>",
        f"<p>The receipt is signed by {by}. It fixes question, answer, price and shares by their hashes. The marks "
        "are runs of words that the answer has in common with rows, and anybody with both can compare them.</p>",
        f"<p>The shares follow from the rule {method}. They say which rows the words point to, and not why the "
        "model wrote them. Words without a mark come from the base model, or no row supports them.</p>",
        "<p>This file is a copy that anybody can edit, so it proves nothing alone. The node that bought the answer "
        "checks the receipt and recomputes its shares, as long as it keeps the text:</p>",
        f"<pre><code>openledger-node attribution verify {_text(receipt['digest'])}</code></pre>",
        "<table>",
        *(
            f"<tr><th>{name}</th><td><code>{_text(value)}</code></td></tr>"
            for name, value in (
                ("Receipt", receipt["digest"]),
                ("Node", receipt["node"]),
                ("Adapter", "none" if receipt["adapter_id"] == BASE_ONLY else receipt["adapter_id"]),
                *(("Datanet", each["datanet_id"]) for each in receipt["teaching"]["datanets"]),
            )
        ),
        "</table>",
        "</div>",
    ]
