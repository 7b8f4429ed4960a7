"""Text to token ids and back; light enough for the daemon: the `tokenizers` library and the base's chat template."""

import codecs
import json
import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from jinja2 import TemplateError
from tokenizers import Tokenizer as FileTokenizer

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import Message, Tooling

from ..errors import ModelError
from ..models.bases import chat_template
from .chat_template import ChatStyle, ChatTemplate, turns_of
from .tool_formats import MARKERS

HALF_CHARACTER = "\ufffd"
"""The replacement for bytes that are no character, or not yet."""

PENDING_TOKENS_MAX = 64
"""Tokens that are decoded together at most; so many without a whole character are not the start of one."""

_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(0x100) if byte not in _PRINTED]
BYTE_OF_LETTER = {chr(byte): byte for byte in _PRINTED} | {chr(0x100 + n): byte for n, byte in enumerate(_OTHERS)}
"""GPT-2's alphabet for bytes in byte-level tokenizers: a printable byte is itself, the others follow from U+0100."""

_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


class Decoder(Protocol):
    """Turns one answer's token ids into text, one by one."""

    def push(self, token_id: int) -> str:
        """Return the text that this token completes; empty while a character is incomplete."""


class Tokenizer(Protocol):
    """The tokenizer of a base; buyer and seller must compute the same ids."""

    @property
    def style(self) -> ChatStyle:
        """The ways in which the base takes tools, and writes calls and reasoning."""

    def render(
        self, prompt: tuple[Message, ...] | str, tooling: Tooling | None = None, thinking: bool | None = None
    ) -> tuple[int, ...]:
        """Tokenise a rendered conversation, or a raw text: the canonical ids of a prompt."""

    def encode(self, text: str) -> tuple[int, ...]:
        """The canonical ids of a text, without a template or added special tokens."""

    def decoder(self) -> Decoder:
        """Start a new answer."""

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        """A token's name, and its bytes, which may be part of a character; None for a token that is no text."""

    def added_id(self, text: str) -> int | None:
        """The id of the token that was added to the vocabulary for this very text; None if there is none."""


def open_tokenizer(folder: Path | None) -> Tokenizer:
    """Open the tokenizer of the base in `folder`; None is the fake base.

    Raises:
        ModelError: the base has none.
    """
    if folder is None:
        return ByteTokenizer()
    file = folder / "tokenizer.json"
    if not file.exists():
        raise ModelError(f"{folder} has no tokenizer.json: save the base with a fast tokenizer")
    try:
        return BaseTokenizer(FileTokenizer.from_file(str(file)), chat_template(folder), special_tokens(folder))
    except TemplateError as error:
        raise ModelError(f"the chat template of {folder.name} can't be read: {error}") from error
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{file} can't be read ({error}): pull the base again") from error


def template_head(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids with which the chat template begins every chat that has no system message; none without a template.

    They hold nothing that a user wrote: the first id that depends on a user's text ends them.
    """
    try:
        first, second = (tokenizer.render((Message(role="user", content=text),)) for text in ("1", "A"))
    except MalformedError:
        return ()
    return tuple(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def special_tokens(folder: Path) -> dict[str, str]:
    """Special tokens such as `bos_token` and `eos_token`, which templates may name."""
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text()) if file.exists() else {}
    tokens = {name: value for name, value in settings.items() if name.endswith("_token")}
    return {name: value["content"] if isinstance(value, dict) else value for name, value in tokens.items() if value}


class BaseTokenizer:
    """The tokenizer of a real base."""

    def __init__(self, tokenizer: FileTokenizer, template: str | None, special: dict[str, str]) -> None:
        self._tokenizer = tokenizer
        self._template = ChatTemplate(template, special) if template else None
        self._is_byte_level = b"ByteLevel" in (tokenizer.decoder.__getstate__() if tokenizer.decoder else b"")
        added = tokenizer.get_added_tokens_decoder()
        self._added = {number: token.content for number, token in added.items()}
        self._shown = {
            number: token.content for number, token in added.items() if token.special and token.content in MARKERS
        }

    @property
    def style(self) -> ChatStyle:
        """The style that the chat template has shown."""
        return self._template.style if self._template else ChatStyle()

    def render(
        self, prompt: tuple[Message, ...] | str, tooling: Tooling | None = None, thinking: bool | None = None
    ) -> tuple[int, ...]:
        """Render with the base's chat template, ending with the start of the assistant's turn.

        Raises:
            MalformedError: the template refuses the conversation, or the base has none.
        """
        if isinstance(prompt, str):
            return tuple(self._tokenizer.encode(prompt).ids)
        if self._template is None:
            raise MalformedError("this base has no chat template: use /v1/completions")
        return self.encode(self._template.render(prompt, tooling, thinking))

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokenise without adding special tokens; special tokens that the text spells out are recognised."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decoder(self) -> "BaseDecoder":
        """Start a new answer."""
        return BaseDecoder(self._tokenizer, self._shown)

    def added_id(self, text: str) -> int | None:
        """The id of an added token, special or not."""
        found = self._tokenizer.token_to_id(text)
        return found if found in self._added else None

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        """Decode one token on its own, as the base's decoder would."""
        if token_id in self._added:
            return self._added[token_id], None
        piece = self._tokenizer.id_to_token(token_id) or ""
        if self._is_byte_level:
            spelled = bytes(BYTE_OF_LETTER[letter] for letter in piece if letter in BYTE_OF_LETTER)
        elif byte := _FALLBACK.fullmatch(piece):
            spelled = bytes.fromhex(byte[1])
        else:
            spelled = piece.replace("▁", " ").encode()
        return spelled.decode(errors="replace"), spelled


class BaseDecoder:
    """Incremental text of one answer, special tokens left out but for those that mark calls and reasoning.

    Tokens may split characters, and the text of a token may depend on the one before it. So the newest tokens are
    decoded together, from the last place where all characters were whole, and bytes that may still become a character
    are held back. `DecodeStream` of the tokenizers library does the same, but raises an error for bytes that are not
    UTF-8, and that must not end an engine.
    """

    def __init__(self, tokenizer: FileTokenizer, shown: Mapping[int, str] | None = None) -> None:
        self._tokenizer = tokenizer
        self._shown = shown or {}  # the special tokens that are text
        self._ids: list[int] = []
        self._num_known = 0  # tokens, from the front, whose text was returned: context for those that follow
        self._num_shown = 0  # characters, from the front, of their decoded text that were returned

    def push(self, token_id: int) -> str:
        """Return the text that this token completes."""
        if marker := self._shown.get(token_id):
            piece = self._read()[self._num_shown :] + marker
            self._ids, self._num_known, self._num_shown = [], 0, 0
            return piece
        self._ids.append(token_id)
        text = self._read()
        is_over_long = len(self._ids) - self._num_known >= PENDING_TOKENS_MAX
        whole = text if is_over_long else text.rstrip(HALF_CHARACTER)
        piece = whole[self._num_shown :]
        self._num_shown = max(self._num_shown, len(whole))
        if is_over_long or (piece and len(whole) == len(text)):
            self._ids = self._ids[self._num_known :]
            self._num_known, self._num_shown = len(self._ids), len(self._read())
        return piece

    def _read(self) -> str:
        return self._tokenizer.decode(self._ids, skip_special_tokens=True)


class ByteTokenizer:
    """The fake base's tokenizer: a token is a byte, and 256 ends a text."""

    end_id = 256
    style = ChatStyle()

    def render(
        self, prompt: tuple[Message, ...] | str, tooling: Tooling | None = None, thinking: bool | None = None
    ) -> tuple[int, ...]:
        """Render a conversation as one line of `role: content` for each turn."""
        if isinstance(prompt, str):
            return self.encode(prompt)
        turns, _ = turns_of(prompt, tooling.tools if tooling and tooling.choice != "none" else (), self.style)
        return self.encode("".join([*(f"{turn['role']}: {turn['content']}\n" for turn in turns), "assistant:"]))

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode as UTF-8."""
        return tuple(text.encode())

    def decoder(self) -> "ByteDecoder":
        """Start a new answer."""
        return ByteDecoder()

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        """Spell a byte as itself."""
        if token_id >= self.end_id:
            return "<end>", None
        return bytes([token_id]).decode(errors="replace"), bytes([token_id])

    def added_id(self, text: str) -> int | None:
        """No token was added."""
        return None


class ByteDecoder:
    """Incremental UTF-8; invalid bytes are left out."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def push(self, token_id: int) -> str:
        """Return the character that this byte completes."""
        return self._decoder.decode(bytes([token_id])) if token_id < ByteTokenizer.end_id else ""
