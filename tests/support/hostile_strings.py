"""Texts that a stranger may give a peer, an adapter or an answer, to act on whoever reads them."""

HOSTILE = {
    "colour": "\x1b[31mred",
    "clear the screen": "\x1b[2J\x1b[H",
    "a window's title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;http://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "the clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "eight-bit escape": "\x9b31m",
    "a device's answer": "\x1b[6n",
    "backspaces": "safe\b\b\b\bevil",
    "a carriage return": "all is well\rnothing is",
    "a bell": "\a\a",
    "a zero": "na\x00me",
    "delete": "na\x7fme",
    "a vertical tab": "one\x0btwo\x0cthree",
    "next line": "one\x85two",
    "two lines": "name\nstate     idle",
    "line separator": "one\u2028two\u2029three",
    "right to left": "\u202egnp.exe",
    "an isolate": "\u2066\u2067user\u2069",
    "marks": "\u200e\u200f\u061c",
    "invisible tags": "bank\U000e0062\U000e0061\U000e007f",
    "invisible operators": "a\u2060\u2062b\ufeff",
    "half a character": "\ud83d",
    "markup": "[bold red]NOT[/] [link=http://evil.example]x[/link]",
    "a closing tag": "[/]",
    "an unknown tag": "[/nothing][@click=x]y",
    "an emoji's name": ":skull:",
    "a format": "%s%n{0}{x.__class__}$(id)`id`",
}
"""What it does → the text."""

ACTS = set(
    map(chr, [*range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2060, 0x2070)])
)
ACTS |= set("\u061c\u200e\u200f\u2028\u2029\ufeff\ud83d") | set(map(chr, range(0xE0000, 0xE0080)))
"""Characters that no output may have."""


def acting(text: str) -> set[str]:
    return ACTS & set(text)
