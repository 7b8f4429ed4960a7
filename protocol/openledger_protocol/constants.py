"""The protocol's constants, each with its unit and its reason."""

from typing import Final

PPM: Final = 1_000_000
"""Shares are integers in parts per million and always sum to this."""

DEMO_BASE_NAME: Final = "smollm2-135m-instruct"
DEMO_BASE_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_BASE_DIGEST: Final = "0xb179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SHA-256 of the exact file that all nodes use as the demo base."""

LOCAL_NETWORK: Final = "local"
"""The network id of a node that has joined no network, which names its ledger folder."""

NAME_LENGTH_MAX: Final = 64
"""The maximum length of a base's or adapter's name: it must fit a table column and a file name."""

DATANET_OWNER_PPM_MAX: Final = 500_000
"""The most that a Datanet's owner gets of its pots, as DatanetRegistry has it."""

STOP_STRINGS_MAX: Final = 16
"""The maximum number of stop strings in a request. OpenAI takes 4, and evaluation harnesses send more."""

STOP_STRING_LENGTH_MAX: Final = 256
"""The maximum length of a stop string, because every character of an answer is compared against it."""

TOP_K_MAX: Final = 2**31 - 1
"""More than any vocabulary has, and fits the integers of every language."""

TEMPERATURE_MAX: Final = 2.0
"""As OpenAI has it; above this, the text is noise."""

PENALTY_MAX: Final = 2.0
"""The bound of penalties, positive or negative, as OpenAI has it."""

LOGPROBS_MAX: Final = 20
"""The most alternatives listed for each token of an answer, as OpenAI has it."""

JSON_SCHEMA_BYTES_MAX: Final = 64 * 1024
"""The maximum size of an answer's JSON schema: far more than people write, and quick to compile."""

JSON_DEPTH_MAX: Final = 32
"""Levels of objects and lists in a schema: a template that indents writes each of them."""

ARGUMENTS_DEPTH_MAX: Final = 256
"""The same of a call's arguments, which a model wrote: what is read as a call can be sent back."""

TOOLS_MAX: Final = 128
"""The maximum number of tools in a request, as OpenAI has it; also of calls in one message."""

TOOL_NAME_LENGTH_MAX: Final = 128
"""The maximum length of a tool's name. OpenAI takes 64 characters, Anthropic 128."""

TOOL_DESCRIPTION_LENGTH_MAX: Final = 32 * 1024
"""The maximum length of a tool's description; those of coding agents are a few pages long."""

TOOLING_BYTES_MAX: Final = 512 * 1024
"""The maximum size of all tools of a request together: half of what a frame holds."""

TOOL_CALL_ID_LENGTH_MAX: Final = 256
"""The maximum length of a call's id, which the client or the node chose."""

PRICE_TOKENS: Final = 1_000
"""Prices are in wei per this many tokens, separately for prompt and answer."""

ISSUED_SKEW_S_MAX: Final = 600
"""The most that a receipt's time may differ from its payer's clock, so that nothing can be dated back past a bond."""

RECEIPT_SEQ_MAX: Final = 2**63 - 1
"""A channel's receipts are counted in ledgers, whose integers have a sign."""

RECEIPTS_OPEN_MAX: Final = 8
"""Receipts of a channel that may wait for their countersignature: with more, the node starts no further stream."""

CLUSTERS_MAX: Final = 10
"""The number of best clusters of rows that share an answer's payment to a Datanet."""

CLUSTER_POWER: Final = 2
"""Scores are raised to this power before they become shares, to favour the rows that taught the answer over
rows that merely resemble it."""

SIGNAL_SKETCH_BYTES: Final = 256
SIGNAL_ACTIVATION_BYTES_MAX: Final = 512
"""Lengths of an answer's signals, one byte a number: each sketch, and the activation at most. The product of two
signals of 512 numbers is below 2^24, so that sums in float32 are exact in any order."""

COSINE_ONE: Final = 2**15
"""The cosine of a signal with itself; cosines of signals are integers."""

SURE_SCORE: Final = COSINE_ONE**3 // 10
"""The score by signals from which rows get the whole pay. A lower best score leaves a part to the treasury, so that
rounding moves little. Nearly all right answers of the bench score more."""

SIGNAL_FLOOR_PARTS: Final = 8
"""By signals, a row is paid for what its score has over this part of the best one: an eighth."""

SIGNAL_ACCOUNTS_MAX: Final = 31
"""Accounts that a Datanet pays by signals, beside its treasury: a receipt carries 256 shares of up to 8 Datanets."""

SIGNAL_COSINE_MIN: Final = 32_441
"""The least cosine of a signal and its replay, 0.99 rounded up; bfloat16 moves it by 0.0013."""

SHARES_DISTANCE_PPM_MAX: Final = 50_000
"""The most that shares by signals may differ from a replay's, as half the sum of all differences."""

FINGERPRINT_LEAF_IDS: Final = 32
"""Generated token ids in one leaf of a fingerprint; the last leaf may have fewer."""

CLAIM_ITEMS_MAX: Final = 256
CLAIM_ADAPTERS_MAX: Final = 32
CLAIM_POTS_MAX: Final = 64
PAYOUTS_MAX: Final = 256
"""Bounds of one claim and its payout list, which must fit into one transaction's gas."""

ADAPTER_DATANETS_MAX: Final = 8
"""Datanets that an adapter may be trained on: each is a pot in every claim."""

LATE_PPM: Final = 100_000
"""The part of its own share that a node loses if it proposes no payout list in time."""

UNLISTED_PART: Final = 10
"""A node loses a tenth of its share if its list gives all of the money to nobody, and less in proportion."""

WIRE_VERSION: Final = 1
"""The major version of all messages between peers; other versions are refused explicitly."""

AD_BYTES_MAX: Final = 2_048
"""The maximum size of a signed advertisement: each node receives one from every other each ten minutes."""

AD_VERSION: Final = 2
"""The version of an advertisement's body. One of version 1, which lasts for at most two minutes, is still read."""

AD_LIFETIME_S_MAX: Final = 1_200
AD_1_LIFETIME_S_MAX: Final = 120
"""The maximum lifetime of an advertisement, and of one of version 1. A call to a peer that left costs little."""

CLOCK_SKEW_S_MAX: Final = 30
"""The maximum difference between peers' clocks."""

AD_ADDRESSES_MAX: Final = 8
AD_RELAYS_MAX: Final = 3
AD_WARM_MAX: Final = 16
AD_RULES_MAX: Final = 8
"""Entries of an advertisement: addresses of the peer, adapters that it has in memory, and attribution rules."""

BLOOM_BYTES_MAX: Final = 512
"""The size of the filter over cold adapters: 420 of them with one false positive in a hundred."""

CHUNK_BYTES: Final = 256 * 1024
"""Files are transferred in chunks of this size; only a file's last one is smaller."""

NEWCOMER_CHUNK_MAX: Final = 32
"""A newcomer is paid for at most so many tokens before it delivers them."""
