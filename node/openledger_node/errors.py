"""The operator must act: each message says what to do, each class has the exit code that the docs list.

NodeError           1  failure
├── LedgerError     1  the ledger can't be written
├── ConfigError     3  a setting, or another daemon on the same home
├── KeyFileError    4  a key is missing, locked, or its password is wrong
├── ChainError      5  the chain's RPC is down, silent, or of another chain
├── NetworkError    6  a download or a peer
└── ModelError      7  GPU, base model, adapter files
"""


class NodeError(Exception):
    """Something that only the operator can put right; the message says how."""

    exit_code: int = 1


class ConfigError(NodeError):
    """A setting is wrong, or the home is in use."""

    exit_code = 3


class LedgerError(NodeError):
    """The ledger can't be written just now: a full disk, or a program that holds it."""


class KeyFileError(NodeError):
    """A key is missing, or its password is wrong."""

    exit_code = 4


class ChainError(NodeError):
    """The chain does not answer, or not as a chain does."""

    exit_code = 5


class NetworkError(NodeError):
    """A download failed, or nobody answered."""

    exit_code = 6


class ModelError(NodeError):
    """The base, an adapter or the device is not usable."""

    exit_code = 7
