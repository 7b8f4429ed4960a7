"""Every number of the protocol, each with its unit and its reason."""

from typing import Final

PPM: Final = 1_000_000
"""Shares are integers in parts per million and always sum to this."""

DEMO_BASE_NAME: Final = "smollm2-135m-instruct"
DEMO_BASE_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_BASE_DIGEST: Final = "0xb179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SHA-256 of the one exact file that every node means by the demo base."""

LOCAL_NETWORK: Final = "local"
"""The network id of a node that has joined none: its ledger folder hangs on it."""

NAME_LENGTH_MAX: Final = 64
"""Characters of a base's or adapter's name: it must fit a table column and a file name."""

STOP_STRINGS_MAX: Final = 4
"""Stop strings of one request, OpenAI's own bound."""

STOP_STRING_LENGTH_MAX: Final = 256
"""Characters of one stop string: each emitted character is compared against it."""

TOP_K_MAX: Final = 2**31 - 1
"""More than any vocabulary has; fits every integer of every language."""

TEMPERATURE_MAX: Final = 2.0
"""OpenAI's own bound; above it a text is noise."""
