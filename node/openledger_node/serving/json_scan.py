"""One JSON value, followed character by character, so that an answer's arguments are passed on while they come."""

import re
from typing import Final

from openledger_protocol.constants import ARGUMENTS_DEPTH_MAX

NUMBER_LENGTH_MAX: Final = 400
SPACE: Final = " \t\n\r"

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = ("true", "false", "null")
_ESCAPES = '"\\/bfnrt'
_HEX = "0123456789abcdefABCDEF"


class JsonValue:
    """The place within one value; strict, so that text which is no JSON is told by its first wrong character."""

    def __init__(self) -> None:
        self._open: list[str] = []  # the brackets to come, outermost first
        self._state = "value"
        self._word = ""  # a number or a literal so far
        self._num_hex = 0
        self.is_over = False  # its last character was read; a number ends only with the character after it

    def feed(self, char: str) -> bool:
        """Read a character; False if the value has ended before it.

        Raises:
            ValueError: no JSON value continues so.
        """
        if self._state == "word" and char not in ",]}" + SPACE:
            self._word += char
            if len(self._word) > NUMBER_LENGTH_MAX:
                raise ValueError("a number is too long")
            return True
        if self._state == "word":
            self._check_word()
            self._end_value()
            if self.is_over:
                return False
        getattr(self, f"_in_{self._state}")(char)
        return True

    def finish(self) -> bool:
        """End the text here; True if the value is whole.

        Raises:
            ValueError: it ends in something that is no JSON.
        """
        if self._state == "word" and not self._open:
            self._check_word()
            self._end_value()
        return self.is_over

    def _in_value(self, char: str) -> None:
        if char in SPACE:
            return
        if char in "{[":
            if len(self._open) >= ARGUMENTS_DEPTH_MAX:
                raise ValueError("it is nested too deep")
            self._open.append("}" if char == "{" else "]")
            self._state = "first_key" if char == "{" else "first_value"
        elif char == '"':
            self._state = "string"
        elif char in "-0123456789tfn":
            self._state, self._word = "word", char
        else:
            raise ValueError("a value was due")

    def _in_first_value(self, char: str) -> None:
        if char == "]":
            self._close(char)
        elif char not in SPACE:
            self._in_value(char)

    def _in_first_key(self, char: str) -> None:
        if char == "}":
            self._close(char)
        else:
            self._in_key(char)

    def _in_key(self, char: str) -> None:
        if char == '"':
            self._state = "key_string"
        elif char not in SPACE:
            raise ValueError("a key was due")

    def _in_colon(self, char: str) -> None:
        if char == ":":
            self._state = "value"
        elif char not in SPACE:
            raise ValueError("a colon was due")

    def _in_comma(self, char: str) -> None:
        if char == ",":
            self._state = "key" if self._open[-1] == "}" else "value"
        elif char not in SPACE:
            self._close(char)

    def _in_string(self, char: str) -> None:
        if char == '"' and not self._is_escaped:
            self._end_value()
        else:
            self._in_text(char, "string")

    def _in_key_string(self, char: str) -> None:
        if char == '"' and not self._is_escaped:
            self._state = "colon"
        else:
            self._in_text(char, "key_string")

    @property
    def _is_escaped(self) -> bool:
        return bool(self._word or self._num_hex)

    def _in_text(self, char: str, state: str) -> None:
        if self._num_hex:
            if char not in _HEX:
                raise ValueError("an escape has four hexadecimal digits")
            self._num_hex -= 1
        elif self._word == "\\":
            if char not in _ESCAPES + "u":
                raise ValueError("there is no such escape")
            self._word, self._num_hex = "", 4 if char == "u" else 0
        elif char == "\\":
            self._word = char
        elif char < " ":
            raise ValueError("a string has no bare control characters")
        self._state = state

    def _close(self, char: str) -> None:
        if not self._open or char != self._open[-1]:
            raise ValueError("a comma or a closing bracket was due")
        self._open.pop()
        self._end_value()

    def _end_value(self) -> None:
        self._word = ""
        if self._open:
            self._state = "comma"
        else:
            self._state, self.is_over = "over", True

    def _check_word(self) -> None:
        if self._word not in _WORDS and not _NUMBER.fullmatch(self._word):
            raise ValueError("this is no number")
