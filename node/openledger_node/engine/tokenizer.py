"""Text to token ids and back; light enough for the daemon: the `tokenizers` library and the base's chat template."""

import codecs
import json
import os
import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from jinja2 import TemplateError
from tokenizers import Tokenizer as FileTokenizer

from openledger_protocol.codec import canonical_digest
from openledger_protocol.errors import MalformedError, RequestTooLongError
from openledger_protocol.inference import Message, Tooling
from openledger_protocol.primitives import ZERO_DIGEST, Digest

from ..errors import ModelError
from ..models.bases import chat_template, known_tokenizer_digest
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

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # our batches have one text, and threads survive no fork

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

    @property
    def template_digest(self) -> Digest:
        """Digest of the base's chat template and of the special tokens that it may name; zero without one."""

    @property
    def digest(self) -> Digest:
        """Digest of the vocabulary, merges and added tokens, as base.json has it; zero if it is not known."""

    def render(
        self,
        prompt: tuple[Message, ...] | str,
        tooling: Tooling | None = None,
        thinking: bool | None = None,
        *,
        tokens_max: int = 0,
    ) -> tuple[int, ...]:
        """Tokenise a rendered conversation, or a raw text: the canonical ids of a prompt.

        A text that is too long for `tokens_max` by its bytes alone is not tokenised; 0 is no limit.
        """

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
        return BaseTokenizer(
            FileTokenizer.from_file(str(file)),
            chat_template(folder),
            special_tokens(folder),
            digest=known_tokenizer_digest(folder) or ZERO_DIGEST,
        )
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

    def __init__(
        self,
        tokenizer: FileTokenizer,
        template: str | None,
        special: dict[str, str],
        *,
        digest: Digest = ZERO_DIGEST,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = ChatTemplate(template, special) if template else None
        named = {"template": template, "special": special}
        self._digest = digest
        self._template_digest = canonical_digest(named) if template else ZERO_DIGEST
        self._is_byte_level = b"ByteLevel" in (tokenizer.decoder.__getstate__() if tokenizer.decoder else b"")
        self._token_bytes_max = token_bytes_max(tokenizer) if self._is_byte_level else 0
        added = tokenizer.get_added_tokens_decoder()
        self._added = {number: token.content for number, token in added.items()}
        self._shown = {
            number: token.content for number, token in added.items() if token.special and token.content in MARKERS
        }

    @property
    def style(self) -> ChatStyle:
        """The style that the chat template has shown."""
        return self._template.style if self._template else ChatStyle()

    @property
    def template_digest(self) -> Digest:
        """Digest of the text of the template, because there is no telling which texts render alike."""
        return self._template_digest

    @property
    def digest(self) -> Digest:
        """Digest of the tokenizer's meaning, from base.json."""
        return self._digest

    def render(
        self,
        prompt: tuple[Message, ...] | str,
        tooling: Tooling | None = None,
        thinking: bool | None = None,
        *,
        tokens_max: int = 0,
    ) -> tuple[int, ...]:
        """Render with the base's chat template, ending with the start of the assistant's turn.

        Raises:
            MalformedError: the template refuses the conversation, or the base has none.
            RequestTooLongError: the text has more bytes than `tokens_max` tokens can have.
        """
        if isinstance(prompt, str):
            self._check_bytes(prompt, tokens_max)
            return self._ids(prompt, has_special=True)
        if self._template is None:
            raise MalformedError("this base has no chat template: use /v1/completions")
        return self._encode_within(self._template.render(prompt, tooling, thinking), tokens_max)

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokenise without adding special tokens; special tokens that the text spells out are recognised."""
        return self._ids(text, has_special=False)

    def _encode_within(self, text: str, tokens_max: int) -> tuple[int, ...]:
        self._check_bytes(text, tokens_max)
        return self.encode(text)

    def _check_bytes(self, text: str, tokens_max: int) -> None:
        """Refuse a text that can't fit, before seconds are spent on it."""
        if not tokens_max or not self._token_bytes_max or len(text) <= tokens_max:
            return
        if (least := -(-len(text.encode()) // self._token_bytes_max)) > tokens_max:
            raise RequestTooLongError(
                f"the prompt has more than {least} tokens; with its answer it may have {tokens_max} here",
                num_prompt_tokens=least,
                context_max=tokens_max,
            )

    def _ids(self, text: str, *, has_special: bool) -> tuple[int, ...]:
        # NOTE: `encode` holds Python's lock, for seconds over a long text; a batch of one does not.
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=has_special)
        return tuple(encoding.ids)

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


def token_bytes_max(tokenizer: FileTokenizer) -> int:
    """The most bytes of a text that one token of a byte-level vocabulary stands for; 0 if there is no such bound.

    There is none if something drops or changes a part of the text before it is split.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    added = tokenizer.get_added_tokens_decoder().values()
    splitter = tokenizer.pre_tokenizer.__getstate__() if tokenizer.pre_tokenizer else b""
    is_lossless = (
        tokenizer.normalizer is None
        and tokenizer.truncation is None
        and b"ByteLevel" in splitter
        and b"Removed" not in splitter
        and b"Whitespace" not in splitter
        and BYTE_OF_LETTER.keys() <= vocabulary.keys()
        and not any(token.lstrip or token.rstrip for token in added)  # they take in the white space around them
    )
    if not is_lossless:
        return 0
    return max((*map(len, vocabulary), *(len(token.content.encode()) for token in added)))  # a letter is a byte


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
    template_digest = ZERO_DIGEST
    digest = ZERO_DIGEST

    def render(
        self,
        prompt: tuple[Message, ...] | str,
        tooling: Tooling | None = None,
        thinking: bool | None = None,
        *,
        tokens_max: int = 0,
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
