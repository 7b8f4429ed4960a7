"""Crafted bad files that people or attackers might bring: each is written by code, with the words of its outcome."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject, NumberObject

GOOD = {"prompt": "Who steers the ferry?", "completion": "Odile Fenn steers it."}
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class BadFile:
    """A file, and what must be said of it: it is refused, or a row is, or something is left out."""

    name: str  # with the ending of its format
    write: Callable[[], Iterator[bytes]]
    rows: int = 0  # good rows that go on
    refused: str | None = None  # words of the refusal of the whole file
    flaws: tuple[tuple[int, str], ...] = ()  # place, and words of the reason
    notes: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()  # texts that must be in no row
    options: dict[str, Any] = field(default_factory=dict)
    is_heavy: bool = False  # it must be read with the limits of its own process


def whole(content: bytes | str) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([content if isinstance(content, bytes) else content.encode()])


def jsonl(*rows: Any) -> Callable[[], Iterator[bytes]]:
    return whole("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def answer(completion: Any, **changes: Any) -> dict[str, Any]:
    return {"prompt": "Who?", "completion": completion, **changes}


# ---- DOCX


def document_xml(body: str, declaration: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{declaration}<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'.encode()
    )


def paragraph(text: str, style: str = "") -> str:
    styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{styled}<w:r><w:t>{text}</w:t></w:r></w:p>"


TWO_SENTENCES = "The lake is deep. It is cold in spring."
TEXT_BOX = (
    '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
    f"<mc:Choice>{paragraph('The ferry leaves at seven.')}</mc:Choice>"
    f"<mc:Fallback>{paragraph('poison')}</mc:Fallback></mc:AlternateContent>"
)
PLAIN_BODY = paragraph("The lake", "Heading1") + paragraph(TWO_SENTENCES)


def docx(xml: bytes, **others: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", xml)
        for name, content in others.items():
            archive.writestr(f"word/{name}", content)
    return target.getvalue()


def bomb_docx() -> Iterator[bytes]:
    """128 MiB of spaces in a tenth of a megabyte."""
    yield docx(document_xml(" " * 128 * MIB))


def lying_docx() -> Iterator[bytes]:
    """A directory that says 1,000 bytes where 16 MiB are packed."""
    xml = document_xml(paragraph("a. b" * 4 * MIB))
    content = docx(xml)
    assert content.count(struct.pack("<I", len(xml))) == 2
    yield content.replace(struct.pack("<I", len(xml)), struct.pack("<I", 1_000))


def many_entries_docx() -> Iterator[bytes]:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(10_001):
            archive.writestr(f"word/{number}", b"")
        archive.writestr("word/document.xml", document_xml(PLAIN_BODY))
    yield target.getvalue()


def torn_docx() -> Iterator[bytes]:
    """The packed bytes of the document are overwritten."""
    content = docx(document_xml(PLAIN_BODY))
    at = content.index(b"word/document.xml") + len("word/document.xml")
    yield content[:at] + b"\xff" * 40 + content[at + 40 :]


def archive_of(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content)
    return target.getvalue()


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "' + "&a;" * 99 + '"><!ENTITY c "' + "&b;" * 99 + '">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


# ---- PDF


def pdf_writer(*pages: bytes) -> PdfWriter:
    """A PDF whose pages have these content streams."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for content in pages:
        page = writer.add_blank_page(width=600, height=800)
        stream = DecodedStreamObject()
        stream.set_data(content)
        page[NameObject("/Contents")] = writer._add_object(stream)
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    return writer


def text_stream(*lines: str) -> bytes:
    """A content stream that shows lines of text."""
    shown = b"".join(b"(" + line.encode("latin-1") + b") Tj 0 -14 Td\n" for line in lines)
    return b"BT /F1 12 Tf 50 700 Td\n" + shown + b"ET"


def pdf_bytes(writer: PdfWriter) -> bytes:
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def good_pdf() -> bytes:
    return pdf_bytes(pdf_writer(text_stream("The lake is deep.", "It is cold in spring.")))


def locked_pdf() -> Iterator[bytes]:
    writer = pdf_writer(text_stream("The lake is deep.", "It is cold."))
    writer.encrypt("secret", algorithm="AES-256")
    yield pdf_bytes(writer)


def bomb_pdf() -> Iterator[bytes]:
    """One page of text, and one whose content unpacks to 128 MiB."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(b" " * MIB) for _ in range(128)) + packer.flush()
    writer = pdf_writer(text_stream("The lake is deep.", "It is cold in spring."), b"")
    bomb = writer.pages[1]["/Contents"].get_object()  # type: ignore[index]  # a page is a dictionary
    bomb._data = packed
    bomb[NameObject("/Filter")] = NameObject("/FlateDecode")
    yield pdf_bytes(writer)


def looping_pdf() -> Iterator[bytes]:
    """A tree of pages that holds itself."""
    writer = pdf_writer(text_stream("The lake is deep."))
    root = writer._pages if hasattr(writer._pages, "get_object") else writer._root_object["/Pages"]
    pages: Any = root.get_object()
    pages["/Kids"].append(writer._root_object.raw_get("/Pages"))
    pages[NameObject("/Count")] = NumberObject(1_000_000)
    yield pdf_bytes(writer)


# ---- Others


def long_line() -> Iterator[bytes]:
    """A line of 100 MiB between two good ones."""
    yield json.dumps(GOOD).encode() + b'\n{"prompt": "'
    for _ in range(100):
        yield b"x" * MIB
    yield b'", "completion": "y"}\n' + json.dumps(answer("Bo.")).encode()


def many_tags() -> Iterator[bytes]:
    yield b"<p>The lake is deep. It is cold.</p>" + b"<a b=" * 100_000 + b"<!--" * 50_000


def nul_blocks() -> Iterator[bytes]:
    yield bytes(range(256)) * 64


HIDDEN = "<p style='display: none'>poison</p><p hidden>poison</p><!-- poison --><template>poison</template>"
PAGE = (
    f"<html><head><title>poison</title></head><body><h1>Lake</h1><script>poison()</script>{HIDDEN}"
    "<p onclick='poison()'>The <b>lake</b> is deep.</p><iframe src='javascript:poison'></iframe></body></html>"
)
TOOL = {"messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "{}"}]}
CALL = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": []}]}
TALK = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}
TURNS = {"messages": [{"role": "user", "content": "x"}] * 201}
AWS_KEY, TOKEN = "AKIA" + "IOSFODNN7QUARTZZ", "ghp_" + "x9" * 18
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIE"

BAD_FILES = (
    BadFile(name="empty.jsonl", write=whole(""), refused="it is empty"),
    BadFile(name="blank.csv", write=whole("\n\n"), refused="the first line of a table names its columns"),
    BadFile(name="binary.txt", write=nul_blocks, refused="it holds NUL bytes"),
    BadFile(
        name="utf16.csv",
        write=whole("prompt,completion\na,b\n".encode("utf-16-le")),
        refused="UTF-16 without a byte order mark: give --encoding utf-16-le",
    ),
    BadFile(name="marked-utf16.csv", write=whole("prompt,completion\nWho?,Bo.\n".encode("utf-16")), rows=1),
    BadFile(name="latin1.txt", write=whole("Größe".encode("latin-1")), refused="--encoding windows-1252"),
    BadFile(
        name="klingon.txt",
        write=whole("a"),
        options={"encoding": "klingon"},
        refused="no encoding 'klingon' is known: choose from utf-8",
    ),
    BadFile(
        name="long-line.jsonl",
        write=long_line,
        rows=2,
        flaws=((2, "more than 1048576 characters"),),
        is_heavy=True,
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
        name="ragged.csv",
        write=whole("prompt,completion\nWho?,Bo, or Al\nWho?\nHow?,So.\n"),
        rows=1,
        flaws=((2, "3 cells and the table 2 columns"), (3, "is empty")),
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
        name="unclosed-last.csv",
        write=whole('prompt,completion\nHow?,So.\nWho?,"Bo\nWhy?,Because.\n'),
        rows=1,
        flaws=((3, "lines up to 4 were left out"),),
        absent=("Because",),
    ),
    BadFile(
        name="undoubled.csv",
        write=whole('\n\nprompt,completion\nWho?,"Bo" did\nHow?,"She said ""so""."\n'),
        rows=1,
        flaws=((4, "not doubled"),),
    ),
    BadFile(name="unclosed-first.csv", write=whole('prompt,"completion\nHow?,So.\n'), refused="names no columns"),
    BadFile(
        name="named-encoding.csv",
        write=whole(b"\xef\xbb\xbfprompt,completion\nHow?,So.\n"),
        options={"encoding": "utf-8"},
        rows=1,
    ),
    BadFile(name="twice.csv", write=whole("prompt,prompt\na,b\n"), refused="two columns are called 'prompt'"),
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
        name="kept.csv",
        write=whole("prompt,completion\nMail?,bo@lake.org\n"),
        options={"keep": True},
        rows=1,
    ),
    BadFile(
        name="secrets.jsonl",
        write=jsonl(answer(AWS_KEY), answer(TOKEN), answer(PRIVATE_KEY), GOOD),
        rows=1,
        flaws=((1, "a secret (AWS"), (2, "a secret (GitHub"), (3, "a secret (Private Key)")),
        absent=(AWS_KEY,),
    ),
    BadFile(
        name="scripts.html",
        write=whole(PAGE),
        rows=1,
        notes=("scripts, styles, menus and hidden elements were left out",),
        absent=("poison",),
    ),
    BadFile(name="tags.html", write=many_tags, rows=1, is_heavy=True),
    BadFile(
        name="comments.md",
        write=whole("# Lake\n\nThe lake <!-- poison\n\npoison --> is deep.\n"),
        rows=1,
        absent=("poison",),
    ),
    BadFile(name="ruled.md", write=whole(f"---\n\n# Lake\n\n{TWO_SENTENCES}\n"), rows=1),
    BadFile(
        name="settings.md",
        write=whole(f"---\ntitle: poison\n---\n\n# Lake\n\n{TWO_SENTENCES}\n"),
        rows=1,
        absent=("poison",),
    ),
    BadFile(
        name="long-answer.txt",
        write=whole(f"Q: Who?\n\nA: Bo.\n\n{'x' * 16_000}\n\n{TWO_SENTENCES * 20}\n\nQ: Why?\n\nA: {'y' * 16_385}\n"),
        rows=2,
        flaws=((9, "16385 characters"),),
    ),
    BadFile(name="short.txt", write=whole("Hi.\n"), flaws=((1, "too short to learn from"),)),
    BadFile(name="locked.pdf", write=locked_pdf, refused="locked by a password: save a copy without one"),
    BadFile(name="torn.pdf", write=lambda: iter([good_pdf()[:300]]), refused="it is damaged"),
    BadFile(name="scanned.pdf", write=lambda: iter([pdf_bytes(pdf_writer(b""))]), refused="run a text recognition"),
    BadFile(name="bomb.pdf", write=bomb_pdf, rows=1, flaws=((2, "this page is damaged"),), is_heavy=True),
    BadFile(name="loop.pdf", write=looping_pdf, refused="", is_heavy=True),
    BadFile(name="paper.txt", write=lambda: iter([good_pdf()]), refused="it is not what .txt says"),
    BadFile(name="bomb.docx", write=bomb_docx, refused="which no document needs", is_heavy=True),
    BadFile(name="lying.docx", write=lying_docx, refused="damaged or locked", is_heavy=True),
    BadFile(name="laughs.docx", write=whole(docx(document_xml("<w:p>&c;</w:p>", LAUGHS))), refused="a document type"),
    BadFile(
        name="outside.docx", write=whole(docx(document_xml("<w:p>&a;</w:p>", OUTSIDE))), refused="a document type"
    ),
    BadFile(
        name="deep.docx",
        write=whole(docx(document_xml("<w:p>" * 100_000 + "</w:p>" * 100_000))),
        refused="nested too deeply",
    ),
    BadFile(
        name="locked.docx", write=whole(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), refused="by a password"
    ),
    BadFile(
        name="macros.docm",
        write=whole(docx(document_xml(PLAIN_BODY), **{"vbaProject.bin": b"Sub AutoOpen()"})),
        rows=1,
        notes=("its macros were left out",),
        absent=("AutoOpen",),
    ),
    BadFile(
        name="fields.docx",
        write=whole(
            docx(
                document_xml(
                    PLAIN_BODY
                    + "<w:p><w:r><w:instrText>DDEAUTO cmd</w:instrText><w:delText>deleted</w:delText></w:r></w:p>"
                )
            )
        ),
        rows=1,
        absent=("DDEAUTO", "deleted"),
    ),
    BadFile(
        name="box.docx",
        write=whole(docx(document_xml(PLAIN_BODY + TEXT_BOX + "<w:moveFrom><w:p>poison</w:p></w:moveFrom>"))),
        rows=1,
        absent=("poison",),
    ),
    BadFile(name="torn.docx", write=torn_docx, refused="damaged or locked"),
    BadFile(name="many.docx", write=many_entries_docx, refused="it holds 10002 files"),
    BadFile(name="other.docx", write=whole(archive_of("a.txt", b"a")), refused="a zip archive and no DOCX"),
    BadFile(name="sheet.xlsx", write=whole(archive_of("a.xml", b"a")), refused="save each sheet as CSV"),
    BadFile(name="noname", write=whole("a"), refused="must end with its format"),
)
