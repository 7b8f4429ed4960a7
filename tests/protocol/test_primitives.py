"""Names and digests: what passes, and what is refused."""

import pytest

from openledger_protocol.constants import NAME_LENGTH_MAX
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import UINT128_MAX, check_digest, check_name, wei_from_text


@pytest.mark.parametrize("text", ["a", "7b", "smollm2-135m-instruct", "A.b_c-9", "x" * NAME_LENGTH_MAX])
def test_a_name_of_letters_digits_and_three_signs_passes(text: str) -> None:
    assert check_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ".hidden", "-rf", "_x", "..", "a/b", "a\\b", "a b", "a\n", "\na", "a\0"),
        *(
            "base:adapter",
            "name@1a2b3c4d",
            "né",
            "名",
            "٣",
            "a\u202eb",
            "[red]",
            "\x1b[31m",
            "x" * (NAME_LENGTH_MAX + 1),
        ),
    ],
)
def test_a_name_that_could_be_a_path_a_markup_or_another_name_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="not a name"):
        check_name(text)


def test_a_refused_name_is_quoted_in_part_only() -> None:
    with pytest.raises(MalformedError) as refusal:
        check_name("x" * 10_000)
    assert len(str(refusal.value)) < 200


def test_a_digest_of_64_lower_case_digits_passes() -> None:
    text = "0x" + "0123456789abcdef" * 4
    assert check_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "0x", "ab" * 32, "0x" + "a" * 63, "0x" + "a" * 65, "0x" + "A" * 64, "0X" + "a" * 64, "0x" + "g" * 64),
        *("0x" + "a" * 64 + "\n", " 0x" + "a" * 64, "0x" + "٣" * 64),
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="not a digest"):
        check_digest(text)


@pytest.mark.parametrize("amount", [0, 1, 10**18, UINT128_MAX])
def test_wei_come_back_from_their_decimal_text(amount: int) -> None:
    assert wei_from_text(str(amount)) == amount


@pytest.mark.parametrize(
    "text", [None, 5, 5.0, "", "-1", "1.0", "1e18", "0x10", " 1", str(UINT128_MAX + 1), "9" * 39, "9" * 5_000]
)
def test_what_is_no_decimal_text_of_wei_is_refused_and_quoted_in_part_only(text: object) -> None:
    with pytest.raises(MalformedError) as refusal:
        wei_from_text(text, name="deposit_wei")
    assert len(str(refusal.value)) < 200


def test_a_refused_amount_is_called_by_its_name() -> None:
    with pytest.raises(MalformedError, match="deposit_wei is a decimal text of wei, not 5"):
        wei_from_text(5, name="deposit_wei")
