"""Licences of rows: SPDX licence expressions, such as `CC-BY-4.0` or `CC-BY-4.0 OR MIT`.

The list of names comes with the package `packaging`, which follows the SPDX licence list.
"""

import re
from difflib import get_close_matches
from typing import Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.licenses._spdx import EXCEPTIONS, LICENSES  # the names, which its function does not tell

from ..errors import InputError

LICENCE_LENGTH_MAX: Final = 64
NEAR_NAMES, NEAR_SHARE = 4, 0.5
OPERATORS: Final = ("and", "or", "with")
EXAMPLES: Final = "CC-BY-4.0, CC0-1.0 or Apache-2.0"


def check_licence(text: str) -> str:
    """Return a licence expression with the names spelled as SPDX does.

    Raises:
        InputError: it is no expression, or has a name that SPDX does not list; the message has the near names.
    """
    if len(text) > LICENCE_LENGTH_MAX:
        raise InputError(f"a licence has at most {LICENCE_LENGTH_MAX} characters, such as {EXAMPLES}")
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        unknown = _unknown_names(text)
        if not unknown:
            raise InputError(
                f"{text!r} is not a licence expression: write names of the SPDX list, joined by AND, OR or WITH, "
                f"such as {EXAMPLES}"
            ) from error
        near = _near_names(unknown[0])
        meant = f"did you mean {' or '.join(near)}?" if near else f"write one such as {EXAMPLES}."
        raise InputError(
            f"{unknown[0]!r} is not on the SPDX licence list: {meant} For a licence of your own, write "
            "LicenseRef-NAME"
        ) from error


def _unknown_names(text: str) -> list[str]:
    words = re.findall(r"[^\s()]+", text)
    known = LICENSES.keys() | EXCEPTIONS.keys()
    return [
        word
        for word in words
        if (name := word.lower()) not in OPERATORS
        and name.removesuffix("+") not in known
        and not re.fullmatch(r"licenseref-[a-z0-9.-]+", name)
    ]


def _near_names(name: str) -> list[str]:
    spelled = {key: str(found["id"]) for key, found in (LICENSES | EXCEPTIONS).items()}
    return [spelled[key] for key in get_close_matches(name.lower(), spelled, n=NEAR_NAMES, cutoff=NEAR_SHARE)]
