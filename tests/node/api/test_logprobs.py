"""OpenAI's two forms of probabilities, where tokens are parts of characters or no text at all."""

from openledger_node.api.logprobs import CompletionLogprobs, chat_logprobs
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_protocol.inference import TokenLogprob

SPELL = ByteTokenizer().spell
END = ByteTokenizer.end_id
EURO = [TokenLogprob(id=byte, logprob=-0.5, top=((byte, -0.5), (END, -2.0))) for byte in "€".encode()]
LAST = TokenLogprob(id=END, logprob=-0.1)


def test_parts_of_characters_have_their_bytes() -> None:
    content = chat_logprobs(SPELL, EURO)["content"]
    assert [entry["token"] for entry in content] == ["\ufffd"] * 3
    assert bytes(byte for entry in content for byte in entry["bytes"]).decode() == "€"


def test_a_token_that_ends_the_answer_is_no_content_but_may_be_likely() -> None:
    assert [entry["bytes"] for entry in chat_logprobs(SPELL, [LAST])["content"]] == []
    assert chat_logprobs(SPELL, EURO)["content"][0]["top_logprobs"][1] == {
        "token": "<end>",
        "logprob": -2.0,
        "bytes": None,
    }


def test_offsets_go_on_from_piece_to_piece() -> None:
    written = CompletionLogprobs(SPELL)
    first = written.of([TokenLogprob(id=ord(letter), logprob=-1.0) for letter in "ab"])
    second = written.of([TokenLogprob(id=ord("c"), logprob=-2.0, top=((ord("d"), -0.2),)), LAST])
    assert (first["tokens"], first["text_offset"]) == (["a", "b"], [0, 1])
    assert (second["tokens"], second["text_offset"]) == (["c"], [2])
    assert second["top_logprobs"] == [{"d": -0.2, "c": -2.0}]
