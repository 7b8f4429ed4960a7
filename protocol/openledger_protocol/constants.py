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

PENALTY_MAX: Final = 2.0
"""Of a penalty, either way: OpenAI's own bound."""

LOGPROBS_MAX: Final = 20
"""Likeliest tokens named beside each token of an answer, OpenAI's own bound."""

JSON_SCHEMA_BYTES_MAX: Final = 64 * 1024
"""A schema that an answer must fit: far more than people write, and little to compile."""

PRICE_TOKENS: Final = 1_000
"""Prices are in wei per this many tokens, of the prompt and of the answer each."""

FLAG_AUDITABLE: Final = 1
"""Bit 0 of a receipt's flags: the payer lets the text be read where the receipt is challenged."""

SAMPLED_ONE_IN: Final = 8
"""One receipt in so many, chosen by neither side, is scored by gradients too and may be demanded in clear."""

CLUSTERS_MAX: Final = 10
"""So many of the best clusters of rows share what an answer pays to a Datanet."""

CLUSTER_POWER: Final = 2
"""Scores are raised to this before they become shares: the row that taught the answer, not all that resemble it."""

FINGERPRINT_LEAF_IDS: Final = 32
"""Generated token ids in one leaf of a fingerprint; the last leaf may hold fewer."""

CLAIM_ITEMS_MAX: Final = 256
CLAIM_ADAPTERS_MAX: Final = 32
CLAIM_POTS_MAX: Final = 64
PAYOUTS_MAX: Final = 256
"""Bounds of one claim and its list of payouts: what fits one transaction's gas."""

ADAPTER_DATANETS_MAX: Final = 8
"""Datanets that an adapter may have learned from: each is a pot in every claim."""

LATE_PPM: Final = 100_000
"""The part of its own share that a node loses if it names nobody in time."""

WIRE_VERSION: Final = 1
"""The major version of every message between peers; another one is refused by name."""

AD_BYTES_MAX: Final = 2_048
"""A signed advertisement: each node hears one from every other each half minute."""

AD_LIFETIME_S_MAX: Final = 120
"""An advertisement is at most so long good, so that who has left is forgotten soon."""

CLOCK_SKEW_S_MAX: Final = 30
"""Peers' clocks may be so far apart."""

AD_ADDRESSES_MAX: Final = 8
AD_WARM_MAX: Final = 16
"""What an advertisement lists: ways to reach the peer, and adapters that it has in memory."""

BLOOM_BYTES_MAX: Final = 512
"""A filter over an advertisement's cold adapters: 420 of them at one false hit in a hundred."""

CHUNK_BYTES: Final = 256 * 1024
"""Files travel in pieces of this size; only a file's last one is smaller."""
