"""Markdown of a model: shown as elements, whole while it streams, and with nothing in it that acts."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect
from support.hostile_strings import HOSTILE, acting
from support.processes.nodes import Node
from web.parts import OpenPage

DOCUMENT = """# Rivers *and* lakes

Three of them, with `code`, **bold**, _italic_, ~~gone~~ and snake_case_names:
the second line.

1. The Rhine
   - is long
   - has [a page](https://example.org/rhine)
2. The Po
   ends here

> Quoted **words**
> go on

```python
def river(*names):
    return "**not bold**"
```

| River | km |
|:--|--:|
| Rhine | 1,233 |
| Po \\| Padus | 652 |

---

Last: https://example.org/a_b_c. And 2 * 3 * 4 stays.
"""

# Draws texts with the page's own module.
PLACE = """async () => {
    const { markdownView } = await import("/lib/markdown.js");
    window.draw = (...texts) => {
        const place = document.createElement("div"), view = markdownView(place);
        for (const text of texts) view.show(text);
        view.settle(texts.at(-1));
        document.querySelector("main").replaceChildren(place);
        return place.innerHTML;
    };
    window.read = (text) => markdownView(document.createElement("div")).show(text);
    window.mark = (text, words) => {
        const place = document.createElement("div"), view = markdownView(place), begin = text.indexOf(words);
        const make = (piece, isFirst, isInLink) => {
            const mark = document.createElement("mark");
            mark.textContent = piece;
            if (isFirst && !isInLink) mark.setAttribute("role", "button");
            return mark;
        };
        view.mark(text, [{ begin, end: begin + words.length, make }]);
        const found = [...place.querySelectorAll("mark")];
        return found.map((each) => [each.textContent, each.parentElement.tagName, each.role ?? ""]);
    };
}"""


@pytest.fixture
def page(alone: Node, open_page: OpenPage) -> Page:
    page = open_page(alone, "peers")
    page.evaluate(PLACE)
    return page


def draw(page: Page, *texts: str) -> str:
    html: str = page.evaluate("(texts) => draw(...texts)", list(texts))
    return html


WRITTEN = [
    ("## A *b*", '<h3 class="level2">A <em>b</em></h3>'),
    ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
    (
        "***a*** **b *c* d** __e__",
        "<p><strong><em>a</em></strong> <strong>b <em>c</em> d</strong> <strong>e</strong></p>",
    ),
    ("2 * 3 * 4, a_b_c, **open, \\*x\\*", "<p>2 * 3 * 4, a_b_c, **open, *x*</p>"),
    ("`` a`b `` and `c", "<p><code>a`b</code> and `c</p>"),
    ("- a\n- b\n  - c\n\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
    ("3. a\nwrapped\n4. b", '<ol start="3"><li>a\nwrapped</li><li>b</li></ol>'),
    ("> a\n> - b", "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>"),
    ("a\n***\nb", "<p>a</p><hr><p>b</p>"),
    ("<b>x</b> &amp;", "<p>&lt;b&gt;x&lt;/b&gt; &amp;amp;</p>"),
    ("[a](javascript:alert(1)) [b](data:x) [c](/open)", "<p>[a](javascript:alert(1)) [b](data:x) [c](/open)</p>"),
    ("[a](https://me@evil.example)", "<p>[a](https://me@evil.example)</p>"),
]
"""What a model writes → what is shown."""


def test_what_a_model_writes_becomes_elements_or_stays_text(page: Page) -> None:
    for text, html in WRITTEN:
        assert draw(page, text) == html


def test_a_link_shows_where_it_leads_and_tells_nobody_whence(page: Page) -> None:
    draw(
        page,
        "![a picture](https://example.org/x.png) and [bank.example](https://evil.example/in) and https://example.org/.",
    )
    links = page.locator("main a")
    assert page.locator("main img").count() == 0
    assert links.evaluate_all("(all) => all.map((each) => [each.textContent, each.href])") == [
        ["a picture (example.org/x.png)", "https://example.org/x.png"],
        ["bank.example (evil.example/in)", "https://evil.example/in"],
        ["https://example.org/", "https://example.org/"],
    ]
    for link in links.all():
        expect(link).to_have_attribute("rel", "noreferrer noopener nofollow")
        expect(link).to_have_attribute("target", "_blank")


def test_what_streams_ends_as_what_came_at_once(page: Page) -> None:
    pieces = [DOCUMENT[:n] for n in range(0, len(DOCUMENT) + 1, 3)]
    assert draw(page, *pieces, DOCUMENT) == draw(page, DOCUMENT)
    assert page.locator("main table td").all_inner_texts() == ["Rhine", "1,233", "Po | Padus", "652"]
    expect(page.locator("main pre")).to_have_text('def river(*names):\n    return "**not bold**"')


MARKED: list[tuple[str, str, list[Any]]] = [
    (
        "It is **very** wide.",
        "is **very** wide",
        [["is ", "P", "button"], ["very", "STRONG", ""], [" wide", "P", ""]],
    ),
    ("> one\n> two", "one\n> two", [["one\n", "P", "button"], ["two", "P", ""]]),
    ("- a b\n- c d", "b\n- c", [["b", "LI", "button"], ["c", "LI", ""]]),
    ("[a b](https://x.example) c", "b](https://x.example) c", [["b", "A", ""], [" c", "P", "button"]]),
    ("```\nx = 1\n```", "= 1", [["= 1", "CODE", "button"]]),
    ("| a |\n|---|\n| b c |", "b c", [["b c", "TD", "button"]]),
    ("Grüße 😀 **an dich**", "an", [["an", "STRONG", "button"]]),
]
"""A text, the words in it that are marked, and the pieces: their words, what they stand in, and whether a button."""


def test_marks_of_the_source_stand_on_what_is_shown(page: Page) -> None:
    for text, words, pieces in MARKED:
        assert page.evaluate("([text, words]) => mark(text, words)", [text, words]) == pieces


def test_a_long_row_of_one_sign_is_read_once(page: Page) -> None:
    for sign in ["*", "_", "`", "[", "[a](", "<http://", "~~a", "> ", "- ", "|-", "**a ", "*a_", "\\", "\t"]:
        page.evaluate(
            "(text) => read(text)", sign * (199_000 // len(sign))
        )  # what is read again for each sign would take minutes


WRAPS = ("{}", "**{}**", "`{}`", "# {}", "- {}", "> {}", "| {} |\n|---|\n| {} |", "```{}\n{}\n```")
WRAPS += ("[{}](https://x.example/{})",)


def test_whatever_a_model_writes_acts_on_nothing(page: Page) -> None:
    texts = [
        wrap.replace("{}", text) for wrap in WRAPS for name, text in HOSTILE.items() if name != "half a character"
    ]
    texts += ["<script>alert(1)</script>", "[x](javascript:alert(1))", '<img src=x onerror="alert(1)">']
    shown = page.evaluate("(texts) => texts.map((text) => { draw(text); return main.textContent; })", texts)
    assert {text: acting(words) for text, words in zip(texts, shown, strict=True) if acting(words)} == {}
    draw(page, "\n\n".join(texts))
    assert page.locator("main script, main img, main iframe, main [onerror], main [style]").count() == 0
    assert set(page.locator("main a").evaluate_all("(all) => all.map((each) => each.protocol)")) <= {
        "http:",
        "https:",
    }
