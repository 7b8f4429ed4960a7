"""Pre-tokenizers of byte-level vocabularies: how a text is split into words before pairs of letters are merged.

A GGUF file has only a name for it, in `tokenizer.ggml.pre`. Another split gives other tokens for the same text, so a
name that is not here is refused. Expressions are those of the models' own tokenizer.json.
"""

from dataclasses import dataclass
from typing import Any

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordSplit:
    """One way to split a text."""

    expressions: tuple[str, ...] = ()  # applied one after the other
    are_digits_single: bool = False
    is_gpt2: bool = False  # GPT-2's own expression, which the tokenizers library has built in
    is_composed: bool = False  # the text is brought to Unicode's form NFC before
    ignores_merges: bool = False  # a word that is a token is that token, whatever its merges say
    begins: bool = False  # the text begins with the begin token, unless the file says otherwise

    def pre_tokenizer(self) -> dict[str, Any]:
        """The part of tokenizer.json."""
        steps: list[dict[str, Any]] = [
            {"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated", "invert": False}
            for each in self.expressions
        ]
        if self.are_digits_single:
            steps.append({"type": "Digits", "individual_digits": True})
        last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": self.is_gpt2}
        return {"type": "Sequence", "pretokenizers": [*steps, last]} if steps else last


_LLAMA3 = WordSplit(expressions=(LLAMA3,), ignores_merges=True, begins=True)
_QWEN2 = WordSplit(expressions=(QWEN2,), is_composed=True)
_GPT2 = WordSplit(is_gpt2=True)
_STARCODER = WordSplit(are_digits_single=True, is_gpt2=True)

SPLITS = {
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"), _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe"), WordSplit(expressions=(LLAMA3,))),
    "qwen2": _QWEN2,
    "qwen35": WordSplit(expressions=(QWEN35,), is_composed=True),
    "deepseek-r1-qwen": WordSplit(expressions=(QWEN2,)),
    "tekken": WordSplit(expressions=(TEKKEN,), ignores_merges=True),
    "gpt-4o": WordSplit(expressions=(GPT4O,)),
    "deepseek-v3": WordSplit(expressions=(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3)),
    **dict.fromkeys(("gpt-2", "olmo", "phi-2", "mellum"), _GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact"), _STARCODER),
}
"""By llama.cpp's name."""
