"""Templates and tokenizers of strangers, on a tiny base made here, and the text of their tokens."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node.engine.chat_templates import TEMPLATES as TEMPLATES_WITH_TOOLS
from support.tiny import make_tokenizer
from tokenizers import Tokenizer as FileTokenizer
from tokenizers import decoders, models
from transformers import AutoTokenizer

from openledger_node.engine.tokenizer import (
    HALF_CHARACTER,
    PENDING_TOKENS_MAX,
    BaseDecoder,
    BaseTokenizer,
    open_tokenizer,
    template_head,
    token_bytes_max,
)
from openledger_node.errors import ModelError
from openledger_protocol.errors import MalformedError, RequestTooLongError
from openledger_protocol.inference import Message, Tool, ToolCall, Tooling

CONVERSATION = (
    Message(role="system", content="Be <short> & 'plain'."),
    Message(role="user", content="Grüße, 🙂 [x]"),
    Message(role="assistant", content="  so be it\n"),
    Message(role="user", content="and?"),
)
TEMPLATES = {
    "turns": "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}{{ eos_token }}",
    "a loop that is left": "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "json and a date": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ strftime_now('%Y') }}",
    "a prompt that opens the answer": "{{ messages | length }}{% if add_generation_prompt %}<assistant>{% endif %}",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_tokenizer(tmp_path)
    return tmp_path


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_a_template_renders_to_the_tokens_that_transformers_makes(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    theirs = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": message.role, "content": message.content} for message in CONVERSATION]
    needed = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(open_tokenizer(folder).render(CONVERSATION)) == needed


@pytest.mark.parametrize("name", ["hermes", "qwen-coder", "mistral"])
def test_tools_calls_and_results_render_to_the_tokens_that_transformers_makes(folder: Path, name: str) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATES_WITH_TOOLS[name])
    theirs, arguments = AutoTokenizer.from_pretrained(folder), {"town": "Åbo"}
    function = {"name": "get_weather", "description": "Wetter <b>", "parameters": {"type": "object", "title": "x"}}
    call = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "wet", "tool_call_id": "call00001", "name": "get_weather"},
    ]
    needed = theirs.apply_chat_template(
        messages, tools=[{"type": "function", "function": function}], add_generation_prompt=True, return_dict=False
    )
    made = ToolCall(id="call00001", name="get_weather", arguments=json.dumps(arguments))
    conversation = (
        Message(role="user", content="Rain?"),
        Message(role="assistant", content="", tool_calls=(made,)),
        Message(role="tool", content="wet", tool_call_id="call00001"),
    )
    tool = Tool(name="get_weather", description="Wetter <b>", parameters='{"type":"object","title":"x"}')
    assert list(open_tokenizer(folder).render(conversation, Tooling(tools=(tool,)))) == needed


def test_the_head_of_a_template_is_what_every_chat_begins_with_and_nothing_that_a_user_wrote(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("always the same{% for m in messages %}<{{ m.content }}>{% endfor %}")
    tokenizer = open_tokenizer(folder)
    head = template_head(tokenizer)
    assert tokenizer.encode("always the same<") == head
    for text in ("1", "A", "1A", "Grüße"):
        assert tokenizer.render((Message(role="user", content=text),))[: len(head)] == head


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no system role') }}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",  # it would leave its sandbox
    ],
)
def test_whatever_a_template_raises_is_a_refusal(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(MalformedError, match="chat template refuses"):
        open_tokenizer(folder).render(CONVERSATION)


GEMMA_2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] | trim }}{% endfor %}"
)


def test_a_system_message_that_the_template_refuses_begins_the_first_turn_of_the_user(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(GEMMA_2)
    tokenizer = open_tokenizer(folder)
    system, user, *rest = CONVERSATION
    folded = Message(role="user", content=f"{system.content}\n\n{user.content}")
    assert tokenizer.render(CONVERSATION) == tokenizer.render((folded, *rest))
    for refused in ((system,), (system, rest[0]), (system, user, user), (user, user)):
        with pytest.raises(MalformedError, match=r"System role not supported|must alternate") as refusal:
            tokenizer.render(refused)
        assert ("System" in refusal.value.message) == (refused[0] is system), "the first refusal is the reason"


@pytest.mark.parametrize(
    ("file", "content"),
    [("chat_template.jinja", "{% for %}"), ("chat_template.jinja", "{% unheard of %}"), ("tokenizer.json", "{")],
)
def test_what_cannot_be_read_is_told_at_the_start(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(ModelError):
        open_tokenizer(folder)


def test_a_base_without_template_completes_texts_alone(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    tokenizer = open_tokenizer(folder)
    with pytest.raises(MalformedError, match="no chat template"):
        tokenizer.render(CONVERSATION)
    assert tokenizer.render("plain") == tokenizer.encode("plain")


def test_a_text_that_can_not_fit_is_refused_by_its_bytes_and_no_text_that_fits(folder: Path) -> None:
    tokenizer = open_tokenizer(folder)
    fits = "<end>" * 100 + "🙂" * 10
    ids = tokenizer.encode(fits)
    assert tokenizer.render(fits, tokens_max=len(ids)) == ids
    tokenizer._tokenizer = None  # type: ignore[attr-defined]  # the library is not asked
    long = "What does the harbour master write? " * 12_000
    for prompt in (long, (Message(role="user", content=long),)):
        with pytest.raises(RequestTooLongError, match=r"the prompt has more than .* it may have 8192 here"):
            tokenizer.render(prompt, tokens_max=8_192)


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"}, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}]}},
        {"added_tokens": [{"id": 0, "content": "<end>", "single_word": False, "lstrip": True, "rstrip": False,
                           "normalized": False, "special": True}]},
    ],
    ids=["normalised", "stripped", "split", "swallows"],
)  # fmt: skip
def test_a_tokenizer_that_may_drop_text_has_no_bound(folder: Path, change: dict[str, object]) -> None:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert token_bytes_max(FileTokenizer.from_file(str(file))) == 0


# ---- text as tokens come, by tokenizers that cut characters: nothing half is shown, and nothing is left out

SOME_TEXT = st.text(
    alphabet=st.sampled_from("ab \n" + "é€🙂" + "👩‍👩‍👧" + "n\u0303" + "नमस्ते" + "한국어"), max_size=20
)


@pytest.fixture(scope="module")
def of_bytes(tmp_path_factory: pytest.TempPathFactory) -> FileTokenizer:
    """A byte-level tokenizer: each token is a byte, 0 ends a text."""
    folder: Path = tmp_path_factory.mktemp("bytes")
    make_tokenizer(folder)
    return FileTokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def of_words() -> FileTokenizer:
    """As Llama 2 has it: words with their space, and bytes for what has no word."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "▁a", "he", "€"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = FileTokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def pieces_of(tokenizer: FileTokenizer, ids: list[int]) -> list[str]:
    decoder = BaseDecoder(tokenizer)
    return [decoder.push(token_id) for token_id in ids]


@given(text=SOME_TEXT)
def test_a_text_comes_out_as_it_went_in_and_never_in_halves(of_bytes: FileTokenizer, text: str) -> None:
    ids = of_bytes.encode(text).ids
    shown, done = "", b""
    for token_id, piece in zip(ids, pieces_of(of_bytes, ids), strict=True):
        shown, done = shown + piece, done + bytes_of(of_bytes, token_id)
        assert shown == done.decode("utf-8", "ignore"), "each character as soon as its last byte is there"
    assert shown == text


def bytes_of(tokenizer: FileTokenizer, token_id: int) -> bytes:
    """The byte that a letter of GPT-2's alphabet stands for: itself, or one that can't be printed."""
    letter = tokenizer.id_to_token(token_id)
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return bytes([ord(letter) if ord(letter) < 256 else others[ord(letter) - 256]])


@given(ids=st.lists(st.integers(0, 261), max_size=60))
def test_tokens_that_are_no_text_at_all_are_no_error(of_words: FileTokenizer, ids: list[int]) -> None:
    pieces_of(of_words, ids)


@given(words=st.lists(st.sampled_from(["▁the", "▁a", "he", "▁"]), max_size=20), text=SOME_TEXT)
def test_spaces_and_bytes_of_words_are_kept(of_words: FileTokenizer, words: list[str], text: str) -> None:
    letters = [f"<0x{byte:02X}>" for byte in text.encode()]
    ids = [of_words.token_to_id(piece) for piece in ["he", *words, *letters, "he"]]
    assert (
        "".join(pieces_of(of_words, ids))
        == of_words.decode(ids)
        == "he" + "".join(words).replace("▁", " ") + text + "he"
    )


def test_an_end_token_shows_nothing(of_bytes: FileTokenizer) -> None:
    ids = of_bytes.encode("a").ids
    assert pieces_of(of_bytes, [*ids, 0, *ids, 0, 0]) == ["a", "", "a", "", ""]


def test_rubbish_is_shown_in_the_end_and_holds_up_nobody(of_bytes: FileTokenizer) -> None:
    [half] = set(of_bytes.encode("\u00e9").ids[:1])
    shown = pieces_of(of_bytes, [half] * PENDING_TOKENS_MAX + of_bytes.encode("so").ids)
    assert shown[: PENDING_TOKENS_MAX - 1] == [""] * (PENDING_TOKENS_MAX - 1)
    assert "".join(shown) == HALF_CHARACTER * PENDING_TOKENS_MAX + "so"


def test_a_token_is_spelled_by_its_bytes_whatever_the_tokenizer_is(
    of_bytes: FileTokenizer, of_words: FileTokenizer
) -> None:
    for text in ("€", " a", "\n"):
        spelled = [BaseTokenizer(of_bytes, None, {}).spell(each)[1] or b"" for each in of_bytes.encode(text).ids]
        assert b"".join(spelled) == text.encode()
    words = BaseTokenizer(of_words, None, {})
    names = ["▁the", "<0xE2>", "€", "<0x41>"]
    assert [words.spell(of_words.token_to_id(name)) for name in names] == [
        (" the", b" the"),
        ("\ufffd", b"\xe2"),
        ("€", "€".encode()),
        ("A", b"A"),
    ]
