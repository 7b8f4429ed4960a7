"""Names and digests: what passes, and what is refused."""

import pytest

from openledger_protocol.constants import NAME_LENGTH_MAX
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import UINT128_MAX, check_digest, check_name, wei_from_text


@pytest.mark.parametrize(
    "text",
    [
        *("", ".hidden", "-rf", "..", "a/b", "a\\b", "a b", "a\n", "a\0", "base:adapter", "name@1a2b3c4d", "né", "٣"),
        *("a\u202eb", "[red]", "\x1b[31m", "x" * (NAME_LENGTH_MAX + 1), "x" * 10_000),
    ],
)
def test_a_name_that_could_be_a_path_a_markup_or_another_name_is_refused_and_quoted_in_part(text: str) -> None:
    for name in ("7b", "A.b_c-9", "x" * NAME_LENGTH_MAX):
        assert check_name(name) == name
    with pytest.raises(MalformedError, match="not a name") as refusal:
        check_name(text)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        *("", "0x", "ab" * 32, "0x" + "a" * 63, "0x" + "a" * 65, "0x" + "A" * 64, "0X" + "a" * 64, "0x" + "g" * 64),
        *("0x" + "a" * 64 + "\n", " 0x" + "a" * 64, "0x" + "٣" * 64),
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    assert check_digest("0x" + "0123456789abcdef" * 4) == "0x" + "0123456789abcdef" * 4
    with pytest.raises(MalformedError, match="not a digest"):
        check_digest(text)


@pytest.mark.parametrize(
    "text", [None, 5, 5.0, "", "-1", "1.0", "1e18", "0x10", " 1", str(UINT128_MAX + 1), "9" * 39, "9" * 5_000]
)
def test_what_is_no_decimal_text_of_wei_is_refused_and_quoted_in_part_only(text: object) -> None:
    for amount in (0, 1, UINT128_MAX):
        assert wei_from_text(str(amount)) == amount
    with pytest.raises(MalformedError, match="wei") as refusal:
        wei_from_text(text, name="deposit_wei")
    assert len(str(refusal.value)) < 200
