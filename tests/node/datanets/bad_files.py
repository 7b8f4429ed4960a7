"""Crafted bad files that people or attackers might bring: each is written by code, with the words of its outcome."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

GOOD = {"prompt": "Who steers the ferry?", "completion": "Odile Fenn steers it."}
MIB = 1 << 20
TWO_SENTENCES = "The lake is deep. It is cold in spring."


@dataclass(frozen=True, kw_only=True)
class BadFile:
    """A file, and what must be said of it: it is refused, or a row is, or something is left out."""

    name: str  # with the ending of its format
    write: Callable[[], Iterator[bytes]]
    rows: int = 0  # good rows that go on
    refused: str | None = None  # words of the refusal of the whole file
    flaws: tuple[tuple[int, str], ...] = ()  # place, and words of the reason
    absent: tuple[str, ...] = ()  # texts that must be in no row
    is_heavy: bool = False  # it must be read with the limits of its own process


def whole(content: bytes | str) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([content if isinstance(content, bytes) else content.encode()])


def jsonl(*rows: Any) -> Callable[[], Iterator[bytes]]:
    return whole("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def answer(completion: Any, **changes: Any) -> dict[str, Any]:
    return {"prompt": "Who?", "completion": completion, **changes}


def archive_of(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content)
    return target.getvalue()


def long_line() -> Iterator[bytes]:
    """A line of 100 MiB between two good ones."""
    yield json.dumps(GOOD).encode() + b'\n{"prompt": "'
    for _ in range(100):
        yield b"x" * MIB
    yield b'", "completion": "y"}\n' + json.dumps(answer("Bo.")).encode()


def nul_blocks() -> Iterator[bytes]:
    yield bytes(range(256)) * 64


TOOL = {"messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "{}"}]}
CALL = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": []}]}
TALK = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}
TURNS = {"messages": [{"role": "user", "content": "x"}] * 201}
AWS_KEY, TOKEN = "AKIA" + "IOSFODNN7QUARTZZ", "ghp_" + "x9" * 18
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIE"

BAD_FILES = (
    BadFile(name="empty.jsonl", write=whole(""), refused="it is empty"),
    BadFile(name="binary.txt", write=nul_blocks, refused="it holds NUL bytes"),
    BadFile(
        name="utf16.csv",
        write=whole("prompt,completion\na,b\n".encode("utf-16-le")),
        refused="UTF-16 without a byte order mark: give --encoding utf-16-le",
    ),
    BadFile(name="latin1.txt", write=whole("Größe".encode("latin-1")), refused="--encoding windows-1252"),
    BadFile(
        name="long-line.jsonl", write=long_line, rows=2, flaws=((2, "more than 1048576 characters"),), is_heavy=True
    ),
    BadFile(name="nested.jsonl", write=jsonl("[" * 200_000, GOOD), rows=1, flaws=((1, "nested too deeply"),)),
    BadFile(
        name="huge-number.jsonl",
        write=jsonl('{"prompt": "How many?", "completion": ' + "9" * 900_000 + "}", GOOD),
        rows=1,
        flaws=((1, "900000 characters, over 16384"),),
    ),
    BadFile(name="nul.jsonl", write=jsonl(answer("a\0b"), GOOD), rows=1, flaws=((1, "invisible character U+0000"),)),
    BadFile(
        name="tags.jsonl",
        write=jsonl(answer("a\U000e0041"), answer("b\u202etxt"), GOOD),
        rows=1,
        flaws=((1, "U+E0041"), (2, "U+202E")),
    ),
    BadFile(name="half.jsonl", write=jsonl(answer("\ud800"), GOOD), rows=1, flaws=((1, "half a character"),)),
    BadFile(
        name="duplicates.jsonl",
        write=jsonl(GOOD, answer("Bo."), GOOD),
        rows=2,
        flaws=((3, "it is the same as line 1"),),
    ),
    BadFile(
        name="mixed.jsonl",
        write=jsonl(GOOD, TALK, {"colour": "red"}, "no JSON", {**GOOD, "prompt": "When?"}),
        rows=2,
        flaws=(
            (2, "its form is ShareGPT, and this file began with prompt and completion"),
            (3, "no known form of rows has 'colour'"),
            (4, "it is not a JSON object"),
        ),
    ),
    BadFile(
        name="types.jsonl",
        write=jsonl(answer(["a"]), answer(True), answer(None), answer(""), answer(4)),
        rows=1,
        flaws=((1, "holds a list"), (2, "true or false"), (3, "nothing"), (4, "is empty")),
    ),
    BadFile(
        name="talks.jsonl",
        write=jsonl(TOOL, CALL, TURNS, {"messages": "Hi"}),
        flaws=((1, "is by 'tool'"), (2, "tool calls and pictures"), (3, "201 turns"), (4, "a list of messages")),
    ),
    BadFile(
        name="torn.json",
        write=whole(json.dumps([GOOD, answer("Bo.")])[:-8]),
        rows=1,
        flaws=((2, "the file ends here"),),
    ),
    BadFile(
        name="payee.jsonl",
        write=jsonl({**GOOD, "contributor": "0x" + "12" * 19}, {**GOOD, "contributor": "a b"}),
        flaws=((1, "looks like an address"), (2, "not a name")),
    ),
    BadFile(
        name="formulas.csv",
        write=whole(
            "prompt,completion\nWho?,=HYPERLINK(\"http://x\")\nHow?,@SUM(A1)\nTo?,+cmd|' /C calc'!A0\nCold?,-5\n"
        ),
        rows=1,
        flaws=((2, "is a formula"), (3, "is a formula"), (4, "is a formula")),
    ),
    BadFile(
        name="unclosed.csv",
        write=whole(
            'prompt,completion\nHow?,So.\nWho?,"Bo\n' + "x" * 70_000 + "\n" + "y" * 70_000 + "\nWhy?,Because.\n"
        ),
        rows=2,
        flaws=((3, "a quotation mark that is not closed"),),
    ),
    BadFile(
        name="undoubled.csv",
        write=whole('\n\nprompt,completion\nWho?,"Bo" did\nHow?,"She said ""so""."\n'),
        rows=1,
        flaws=((4, "not doubled"),),
    ),
    BadFile(name="unclosed-first.csv", write=whole('prompt,"completion\nHow?,So.\n'), refused="names no columns"),
    BadFile(
        name="unknown.csv",
        write=whole("vraag,antwoord\nWie?,Bo.\n"),
        flaws=((2, "--columns prompt=COLUMN,completion=COLUMN"),),
    ),
    BadFile(
        name="personal.csv",
        write=whole(
            "prompt,completion\nMail?,bo@lake.org\nPhone?,+49 30 1234567\nBank?,DE89 3704 0044 0532 0130 00\n"
            "Card?,4111 1111 1111 1111\nMail of nobody?,bo@example.com\nYears?,1914 1918 1939 1945\n"
        ),
        rows=2,
        flaws=((2, "an e-mail address"), (3, "a phone number"), (4, "a bank account"), (5, "a card number")),
    ),
    BadFile(
        name="secrets.jsonl",
        write=jsonl(answer(AWS_KEY), answer(TOKEN), answer(PRIVATE_KEY), GOOD),
        rows=1,
        flaws=((1, "a secret (AWS"), (2, "a secret (GitHub"), (3, "a secret (Private Key)")),
        absent=(AWS_KEY,),
    ),
    BadFile(
        name="comments.md",
        write=whole("# Lake\n\nThe lake <!-- poison\n\npoison --> is deep.\n"),
        rows=1,
        absent=("poison",),
    ),
    BadFile(
        name="settings.md",
        write=whole(f"---\ntitle: poison\n---\n\n# Lake\n\n{TWO_SENTENCES}\n"),
        rows=1,
        absent=("poison",),
    ),
    BadFile(name="questions.txt", write=whole("Q: Who?\nA: Bo.\n\nWhen?\nAt seven.\nDaily.\n"), rows=2),
    BadFile(name="book.pdf", write=whole(b"%PDF-1.7"), refused="save its text as .md or .txt"),
    BadFile(name="zipped.jsonl", write=whole(archive_of("a.txt", b"a")), refused="it is not what .jsonl says"),
    BadFile(name="sheet.xlsx", write=whole(archive_of("a.xml", b"a")), refused="save each sheet as CSV"),
)
