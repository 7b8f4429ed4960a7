"""Tokenizers of GGUF files against those of transformers and of the tokenizers library, over many kinds of text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GemmaTokenizer, LlamaTokenizer
from transformers.tokenization_utils_base import generate_merges

from openledger_node.errors import ModelError
from openledger_node.models.gguf_files.describe import write_description
from openledger_node.models.gguf_files.header import read_header
from openledger_node.models.gguf_files.tokenizer import END_TOKENS, GgufTokenizer

TEXTS = [
    "Hello world, it's 2024! I'LL pay $1,234.56.",
    "  two spaces 12  34\n\n1. first\n\n2. second\r\n\tTabs\t\t3",
    "Ünïcödé: naïve café — “quotes”… ½ ² ٣ 四十二",
    "e\u0301 composed and \u00e9; \u1100\u1161\u11a8 Hangul; मानक हिन्दी; ภาษาไทย; العربية",
    "emoji 👩\u200d👩\u200d👧 🇩🇪 🏳️\u200d🌈 done",
    "HTTPServer camelCase snake_case XMLHttpRequest2 ABCdef",
    "<end>special<end> tokens<mark> inside<mark>",
    "    def f(x):\n        return x  # comment\n\n\n",
    "",
    " ",
    "a\u00a0b\u3000c\u2028d",
    "1234567890 3.14159 0x1F 10^100 1/2",
    "don't DON'T we've WE'VE he'd HE'D",
    "日本語のテキスト。中文文本！한국어 텍스트?",
]
WORDS = (Path(__file__).read_text() + " ".join(TEXTS) * 3).splitlines()
SPECIAL = ["<end>", "<begin>"]
USER_DEFINED = ["<mark>"]


def trained(pre: Any, *, size: int = 600) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges of a byte-level vocabulary, learned with a pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        WORDS, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    content = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].get)
    return [*SPECIAL, *USER_DEFINED, *tokens], [tuple(pair) for pair in content["merges"]]


def byte_level_file(file: Path, tokens: list[str], merges: list[tuple[str, str]], pre: str, **ids: int) -> Path:
    """A file whose first two tokens are control tokens, and the third user-defined."""

    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        marks = [int(gguf.TokenType.CONTROL)] * len(SPECIAL) + [int(gguf.TokenType.USER_DEFINED)] * len(USER_DEFINED)
        writer.add_token_types(marks + [int(gguf.TokenType.NORMAL)] * (len(tokens) - len(marks)))
        writer.add_token_merges([" ".join(pair) for pair in merges])
        for name, number in {"eos": 0, "bos": 1, **ids}.items():
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)

    return write_file(file, len(tokens), add)


def write_file(file: Path, vocab_size: int, add: Callable[[gguf.GGUFWriter], None], arch: str = "bert") -> Path:
    """A file with a vocabulary and the least of a model of another family."""
    writer = gguf.GGUFWriter(file, arch)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor("token_embd.weight", np.zeros((vocab_size, 32), np.float32))
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def opened(file: Path, folder: Path) -> Tokenizer:
    folder.mkdir()
    write_description(file, folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def opened_byte_level(folder: Path, pre: str, **ids: int) -> Tokenizer:
    tokens, merges = trained(gpt2_style())
    return opened(byte_level_file(folder / "a.gguf", tokens, merges, pre, **ids), folder / "ours")


def ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


def gpt2_style(*first: Any) -> Any:
    return pre_tokenizers.Sequence([*first, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def oracle(tokens: list[str], merges: list[tuple[str, str]], pre: Any, normalizer: Any = None) -> Tokenizer:
    """A tokenizer put together by hand from the library's parts."""
    tokenizer = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(USER_DEFINED)
    return tokenizer


@pytest.mark.parametrize(
    ("name", "first"), [("smollm", [pre_tokenizers.Digits(individual_digits=True)]), ("gpt-2", [])]
)
def test_tokens_of_gpt2s_kinds_are_those_of_the_library(tmp_path: Path, name: str, first: list[Any]) -> None:
    pre = gpt2_style(*first)
    tokens, merges = trained(pre)
    ours = opened(byte_level_file(tmp_path / "a.gguf", tokens, merges, name), tmp_path / "ours")
    theirs = oracle(tokens, merges, pre)
    for text in TEXTS:
        assert ids(ours, text) == ids(theirs, text), text
        assert ours.decode(ids(ours, text)) == theirs.decode(ids(theirs, text))


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("12345", "llama-bpe", ["123", "45"]),
        ("12345", "qwen2", ["1", "2", "3", "4", "5"]),
        ("\n\n1", "smollm", ["ĊĊ", "1"]),
        ("\n\n1", "gpt-2", ["Ċ", "Ċ", "1"]),
        ("camelCase", "tekken", ["camel", "Case"]),
        ("camelCase", "llama-bpe", ["camelCase"]),
        ("it's", "gpt-4o", ["it's"]),
        ("it's", "tekken", ["it", "'s"]),
    ],
)
def test_a_text_is_split_into_words(tmp_path: Path, text: str, name: str, words: list[str]) -> None:
    ours = opened_byte_level(tmp_path, name)
    assert [word for word, _ in ours.pre_tokenizer.pre_tokenize_str(text)] == words


def test_an_unknown_pre_tokenizer_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its pre-tokenizer 'default' is not known, so its tokens would be wrong"):
        opened_byte_level(tmp_path, "default")


# ---- SentencePiece

PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
NORMAL_PIECES = ["▁", *"abcdefghijklmnopqrstuvwxyzHTI,.!'", "th", "he", "the", "▁the", "▁t", "ll", "el", "▁▁", "▁▁▁▁"]


def sentence_piece_file(file: Path, arch: str, *, as_converted: bool = False, prefix: bool | None = None) -> Path:
    kinds = gguf.TokenType
    first = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL]
    types = [*first, *([kinds.BYTE] * 256), *([kinds.NORMAL] * len(NORMAL_PIECES))]
    pieces = [*PIECES, *NORMAL_PIECES]
    if as_converted:  # Gemma's runs of spaces are user-defined, and then the converter writes them as spaces
        for at, piece in enumerate(pieces):
            if len(piece) > 1 and not piece.strip("▁"):
                pieces[at], types[at] = " " * len(piece), kinds.USER_DEFINED

    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(pieces)
        writer.add_token_scores([-float(number) for number in range(len(pieces))])
        writer.add_token_types([int(kind) for kind in types])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        if prefix is not None:
            writer.add_add_space_prefix(prefix)

    return write_file(file, len(pieces), add, arch)


def vocabulary() -> dict[str, int]:
    return {piece: number for number, piece in enumerate([*PIECES, *NORMAL_PIECES])}


SPM_TEXTS = ["the hello", " the", "  hi  there    the", "thell", "Ünï 四 \n\n\t", "HI, it's", "", "</s>the</s> the"]


def test_tokens_of_gemma_are_those_of_transformers(tmp_path: Path) -> None:
    file = sentence_piece_file(tmp_path / "a.gguf", "gemma3", as_converted=True, prefix=False)
    ours = tokenizer_of(file)
    merges = merges_of({piece: -float(number) for piece, number in vocabulary().items()})
    theirs = GemmaTokenizer(vocabulary(), merges, eos_token="</s>", bos_token="<s>", unk_token="<unk>")
    for text in SPM_TEXTS:
        assert ids(ours, text) == theirs.encode(text, add_special_tokens=False), text
        assert ours.decode(ids(ours, text)) == theirs.decode(ids(ours, text), skip_special_tokens=True), text


def tokenizer_of(file: Path) -> Tokenizer:
    """Only the tokenizer, because the file has no whole model of its family."""
    return Tokenizer.from_str(json.dumps(GgufTokenizer(read_header(file)).content()))


def test_tokens_of_llama_2_are_those_of_transformers_legacy_tokenizer(tmp_path: Path) -> None:
    ours = tokenizer_of(sentence_piece_file(tmp_path / "a.gguf", "llama"))
    scores = {piece: -float(number) for piece, number in vocabulary().items()}
    theirs = LlamaTokenizer(vocab=vocabulary(), merges=merges_of(scores))
    backend = theirs.backend_tokenizer
    backend.pre_tokenizer = None  # as in the published tokenizer.json of Llama 2 and Mistral
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    for text in SPM_TEXTS:
        assert ids(ours, text) == ids(backend, text), text
    assert ours.encode("the").ids[0] == 1  # a raw text begins with <s>
    assert ours.decode(ids(ours, "the hello")) == "the hello"


def merges_of(scores: dict[str, float]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = generate_merges(vocabulary(), scores)
    return found


# ---- special tokens


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"eos": 0}, [0]), ({"eos": 0, "eot": 4}, [0, 4]), ({"eos": 3}, [3]), ({"eos": 0xFFFFFFFF}, [])],
    ids=str,
)
def test_every_token_that_ends_an_answer_is_named(
    tmp_path: Path, fields: dict[str, int], expected: list[int]
) -> None:
    """A control token that is spelled like an end is one, and a user's token that is spelled so is none."""
    tokens, merges = trained(gpt2_style())
    tokens[1], tokens[2] = "<|endoftext|>", "<|im_end|>"
    assert {*tokens[1:3]} <= {*END_TOKENS}
    opened(byte_level_file(tmp_path / "a.gguf", tokens, merges, "gpt-2", **fields), tmp_path / "ours")
    found = json.loads((tmp_path / "ours" / "generation_config.json").read_text())
    assert found == {"eos_token_id": [*expected, 1]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tokens: tokens.__setitem__(9, tokens[10]), "two tokens are spelled alike"),
        (lambda tokens: tokens.pop(40), "its tokenizer can't be read|token_types for"),
    ],
    ids=["a token twice", "a token less"],
)
def test_a_damaged_vocabulary_is_refused(tmp_path: Path, change: Callable[[list[str]], Any], reason: str) -> None:
    tokens, merges = trained(gpt2_style())
    change(tokens)
    with pytest.raises(ModelError, match=reason):
        opened(byte_level_file(tmp_path / "a.gguf", tokens, merges, "gpt-2"), tmp_path / "ours")


@pytest.mark.parametrize("ids", [{"eos": 1 << 20}, {"bos": 700}], ids=str)
def test_a_special_token_beyond_the_vocabulary_is_refused(tmp_path: Path, ids: dict[str, int]) -> None:
    with pytest.raises(ModelError, match=r"os_token_id is \d+, and the vocabulary has 603 tokens"):
        opened_byte_level(tmp_path, "gpt-2", **ids)


def test_another_kind_of_tokenizer_is_refused_by_its_name(tmp_path: Path) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("bert")
        writer.add_token_list(["a", "b"])

    file = write_file(tmp_path / "a.gguf", 2, add)
    with pytest.raises(ModelError, match="its tokenizer is of the kind 'bert', not gpt2 or llama"):
        opened(file, tmp_path / "ours")
