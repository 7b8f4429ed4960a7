"""The tokenizer of a GGUF file as Hugging Face's tokenizer.json, tokenizer_config.json and end tokens.

There are two kinds. Byte-level vocabularies (GPT-2, Llama 3, Qwen) have their merges in the file. SentencePiece
vocabularies (Llama 2, Mistral, Gemma, Phi-3) have scores, from which the merges follow.
"""

import json
from typing import Any

from .header import GgufHeader, foreign
from .splits import SPLITS

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Types of tokens; the others are unknown (2), unused (5) and bytes (6)."""

SPACE = "▁"  # SentencePiece's letter for a space

END_TOKENS = frozenset(
    {"</s>", "<eos>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "<|end_of_text|>"}
    | {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<EOT>", "<|end▁of▁sentence|>", "<｜end▁of▁sentence｜>"}
)
"""Control tokens that end an answer whatever the file names as its end token, as in llama.cpp."""

END_FIELDS = ("eos_token_id", "eot_token_id", "eom_token_id")
SPECIAL_FIELDS = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}

NO_TOKEN = 0xFFFFFFFF  # llama.cpp's id for none

Json = dict[str, Any]


class GgufTokenizer:
    """The vocabulary of a GGUF file."""

    def __init__(self, header: GgufHeader) -> None:
        """Read it.

        Raises:
            ModelError: it is damaged, or of a kind that this node can't tokenise.
        """
        self._header = header
        self._kind = header.text("tokenizer.ggml.model")
        self._tokens = header.strings("tokenizer.ggml.tokens")
        types = header.fields.get("tokenizer.ggml.token_type")
        self._types = [NORMAL] * len(self._tokens) if types is None else self._per_token("token_type", types)
        if self._kind == "gpt2":
            name = header.text("tokenizer.ggml.pre", "default")
            if name not in SPLITS:
                raise foreign(header.file, f"its pre-tokenizer {name!r} is not known, so its tokens would be wrong")
            self._split = SPLITS[name]
        elif self._kind != "llama":
            raise foreign(header.file, f"its tokenizer is of the kind {self._kind!r}, not gpt2 or llama")
        if self._is_gemma:  # the converter writes runs of spaces as spaces, which no merge can give
            self._tokens = [SPACE * len(each) if each and not each.strip(" ") else each for each in self._tokens]

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end an answer; the first is the one that the file names."""
        named = [found for name in END_FIELDS if (found := self._id(name)) is not None]
        spelled = [id for id in self._of_type(CONTROL) if self._tokens[id] in END_TOKENS]
        return list(dict.fromkeys((*named, *spelled)))

    def ids(self) -> dict[str, int | None]:
        """The ids of special tokens as config.json has them; None keeps a family's default from taking a place."""
        return {f"{name}_token_id": self._id(field) for name, field in SPECIAL_FIELDS.items() if name != "unk"}

    def settings(self) -> Json:
        """The content of tokenizer_config.json, without the chat template."""
        special = {f"{name}_token": self._id(field) for name, field in SPECIAL_FIELDS.items()}
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "add_bos_token": self._begins,
            **{name: self._tokens[id] for name, id in special.items() if id is not None},
        }

    def content(self) -> Json:
        """The content of tokenizer.json."""
        parts = self._byte_level() if self._kind == "gpt2" else self._sentence_piece()
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added(),
            **parts,
            "post_processor": self._post_processor(),
        }

    @property
    def _is_gemma(self) -> bool:
        return self._kind == "llama" and self._header.architecture.startswith("gemma")

    @property
    def _begins(self) -> bool:
        """True if a raw text begins with the begin token."""
        default = self._split.begins if self._kind == "gpt2" else True
        return bool(self._header.fields.get("tokenizer.ggml.add_bos_token", default))

    def _byte_level(self) -> Json:
        merges = []
        for line in self._header.strings("tokenizer.ggml.merges"):
            if (cut := line.find(" ", 1)) < 0:
                raise foreign(self._header.file, f"the merge {line[:20]!r} is not of two tokens")
            merges.append((line[:cut], line[cut + 1 :]))
        return {
            "normalizer": {"type": "NFC"} if self._split.is_composed else None,
            "pre_tokenizer": self._split.pre_tokenizer(),
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": self._model(merges, ignores_merges=self._split.ignores_merges),
        }

    def _sentence_piece(self) -> Json:
        has_prefix = bool(self._header.fields.get("tokenizer.ggml.add_space_prefix", not self._is_gemma))
        to_space = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
        from_space = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
        prefix = {"type": "Prepend", "prepend": SPACE}
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        return {
            "normalizer": {"type": "Sequence", "normalizers": [prefix, from_space]} if has_prefix else from_space,
            "pre_tokenizer": None,
            "decoder": {
                "type": "Sequence",
                "decoders": [to_space, {"type": "ByteFallback"}, {"type": "Fuse"}, *([strip] if has_prefix else [])],
            },
            "model": self._model(self._merges_by_score(), is_sentence_piece=True),
        }

    def _model(
        self, merges: list[tuple[str, str]], *, ignores_merges: bool = False, is_sentence_piece: bool = False
    ) -> Json:
        vocabulary = {token: id for id, token in enumerate(self._tokens)}
        if len(vocabulary) != len(self._tokens):
            raise foreign(self._header.file, "two tokens are spelled alike")
        unknown = self._id("unknown_token_id") if is_sentence_piece else None
        return {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if unknown is None else self._tokens[unknown],
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": is_sentence_piece,
            "byte_fallback": is_sentence_piece,
            "ignore_merges": ignores_merges,
            "vocab": vocabulary,
            "merges": merges,
        }

    def _merges_by_score(self) -> list[tuple[str, str]]:
        """Every cut of a token into two tokens, the best token first; source: transformers' `generate_merges`.

        NOTE: Gemma's scores do not follow the order of its merges; the order of its tokens does.
        """
        ids = {token: id for id, token in enumerate(self._tokens)}
        if self._is_gemma:
            scores = [-float(id) for id in range(len(self._tokens))]
        else:
            scores = self._per_token("scores", self._header.fields.get("tokenizer.ggml.scores"))
        merges = []
        for token, type, score in zip(self._tokens, self._types, scores, strict=True):
            if type not in (NORMAL, USER_DEFINED):
                continue
            cuts = ((token[:at], token[at:]) for at in range(1, len(token)))
            whole = sorted(
                (ids[left], ids[right], left, right) for left, right in cuts if left in ids and right in ids
            )
            merges += [(score, len(left), len(right), left, right) for _, _, left, right in whole]
        merges.sort(key=lambda merge: merge[:3], reverse=True)
        return [(left, right) for *_, left, right in merges]

    def _added(self) -> list[Json]:
        """Tokens that are found in a text before it is split."""
        is_phi = self._kind == "llama" and self._header.architecture == "phi3"
        ids = sorted((*self._of_type(CONTROL), *self._of_type(USER_DEFINED)))
        kept = [id for id in ids if self._tokens[id].strip(SPACE)] if self._is_gemma else ids
        return [
            {
                "id": id,
                "content": self._tokens[id],
                "single_word": False,
                "lstrip": False,
                # Phi-3 drops spaces after its marks; the file does not say so, and llama.cpp knows it by its name
                "rstrip": is_phi and self._tokens[id] not in ("<s>", "<unk>", "<|endoftext|>"),
                "normalized": False,
                "special": self._types[id] == CONTROL,
            }
            for id in kept
            if self._tokens[id]
        ]

    def _post_processor(self) -> Json:
        """Put the begin token before a raw text, if the model wants it."""
        first, second = ({"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB"))
        begin = self._id("bos_token_id") if self._begins else None
        if begin is None:
            return {"type": "TemplateProcessing", "single": [first], "pair": [first, second], "special_tokens": {}}
        token = self._tokens[begin]
        mark = {"SpecialToken": {"id": token, "type_id": 0}}
        return {
            "type": "TemplateProcessing",
            "single": [mark, first],
            "pair": [mark, first, mark, second],
            "special_tokens": {token: {"id": token, "ids": [begin], "tokens": [token]}},
        }

    def _id(self, field: str) -> int | None:
        """A token's id from its field; None if the file has no such token."""
        found = self._header.fields.get(f"tokenizer.ggml.{field}")
        if found is None or (isinstance(found, int) and found == NO_TOKEN):
            return None
        if not isinstance(found, int) or not 0 <= found < len(self._tokens):
            raise foreign(
                self._header.file, f"{field} is {found!r}, and the vocabulary has {len(self._tokens)} tokens"
            )
        return found

    def _of_type(self, type: int) -> list[int]:
        return [id for id, found in enumerate(self._types) if found == type]

    def _per_token(self, name: str, found: Any) -> list[Any]:
        """A field with one number a token."""
        numbers: list[Any] = found.tolist() if hasattr(found, "tolist") else []
        if len(numbers) != len(self._tokens):
            raise foreign(self._header.file, f"{len(numbers)} {name}s for {len(self._tokens)} tokens")
        return numbers


def check_tokenizer(header: GgufHeader, content: Json) -> None:
    """Require that the tokenizers library opens a tokenizer.json.

    Raises:
        ModelError: it does not, because the vocabulary is damaged.
    """
    from tokenizers import Tokenizer  # takes a while to import, and is only needed here

    try:
        Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises nothing narrower
        raise foreign(header.file, f"its tokenizer can't be read: {error}") from error
