"""The language of a text: its script, and in Latin and Cyrillic letters the most frequent words of a language.

It serves a count over a batch, where single rows may be wrong. A short text may have none of these words.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Final

UNKNOWN: Final = "unknown"
CHARACTERS_READ: Final = 1_000
"""Beginning of a text that is looked at."""

LETTERS_MIN: Final = 2
SHARE_MIN: Final = 10
"""One word in this many must be a frequent word of the language."""

OWN_SCRIPT: Final[Mapping[str, str]] = {
    "GREEK": "Greek",
    "HEBREW": "Hebrew",
    "ARABIC": "Arabic or Persian",
    "DEVANAGARI": "Hindi or Marathi",
    "BENGALI": "Bengali",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "THAI": "Thai",
    "HANGUL": "Korean",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "CJK": "Chinese",
    "GEORGIAN": "Georgian",
    "ARMENIAN": "Armenian",
}
"""The first word of a letter's name in Unicode → language."""

JAPANESE: Final = frozenset(("HIRAGANA", "KATAKANA"))

FREQUENT: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(words.split())
    for name, words in {
        "English": "the of and to is in that it was for are with as what how does who which this you not be from",
        "German": "der die das und ist nicht ein eine den dem zu von mit wie was wer auf für sich auch es im wird",
        "French": "le la les des et est une un dans que qui pour pas sur avec du au ce il elle sont quel quelle nous",
        "Spanish": "el la los las de y que en un una es por con para del se no qué cómo su al lo está son",
        "Italian": "il lo la gli di e che un una è per con non sono della del nel si come chi più anche le questo",
        "Portuguese": "o a os as de e que em um uma é por com para do da não se no na qual como são ao",
        "Dutch": "de het een en van is dat niet op te met voor zijn wat hoe wie er aan ook als bij wordt naar deze",
        "Swedish": "och det att är en som på av för med den till inte ett har om var hur vad vem kan de",
        "Polish": "i w na z jest nie się to do że jak co kto o od po dla są czy ale oraz przez ten",
        "Turkish": "ve bir bu da de için ile ne nasıl kim mi değil olarak çok daha gibi olan var en her",
        "Russian": "и в не на что с как по это из к у от за о для он она кто где был же а",
        "Ukrainian": "і в не на що з як по це із до у від за та для він вона хто де був є або",
    }.items()
}

WORD: Final = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str:
    """Name the language of a text, or `unknown`."""
    beginning = unicodedata.normalize("NFKC", text[:CHARACTERS_READ]).casefold()
    scripts = Counter(_script(letter) for letter in beginning if letter.isalpha())
    if scripts.total() < LETTERS_MIN:
        return UNKNOWN
    script = max(scripts, key=lambda name: (scripts[name], name))
    if script == "CJK" and JAPANESE & scripts.keys():
        return "Japanese"
    if script in ("LATIN", "CYRILLIC"):
        return _by_words(beginning)
    return OWN_SCRIPT.get(script, UNKNOWN)


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _by_words(text: str) -> str:
    words = WORD.findall(text)
    hits = {name: sum(word in frequent for word in words) for name, frequent in FREQUENT.items()}
    best = max(hits, key=lambda name: hits[name])  # of equal counts, the first of the table
    is_worded = any(
        len(word) > 1 for word in FREQUENT[best].intersection(words)
    )  # single letters stand in noise, too
    return best if is_worded and hits[best] * SHARE_MIN >= len(words) else UNKNOWN
