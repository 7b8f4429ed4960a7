"""Errors that the operator can fix. Each message says how, and each class has a documented exit code.

NodeError           1  failure
├── LedgerError     1  the ledger can't be written
├── InputError      2  a value or a word that was typed can't be understood
├── ConfigError     3  a setting, or another daemon on the same data directory
├── KeyFileError    4  a key is missing, locked, or its password is wrong
├── ChainError      5  the chain's RPC is down, silent, or of another chain
├── NetworkError    6  a download or a peer
└── ModelError      7  GPU, base model, adapter files
    └── DeviceError 7  the GPU or its memory; the node goes on without its engine
"""


class NodeError(Exception):
    """A problem that only the operator can fix; the message says how."""

    exit_code: int = 1


class InputError(NodeError):
    """A word or a value on the command line can't be understood."""

    exit_code = 2


class ConfigError(NodeError):
    """A setting is wrong, or the data directory is in use."""

    exit_code = 3


class EarlierNetworkError(ConfigError):
    """A network has an earlier version of the contracts, which this release can't use."""


class LedgerError(NodeError):
    """The ledger can't be written now: the disk is full, or another program holds it."""


class KeyFileError(NodeError):
    """A key is missing, or its password is wrong."""

    exit_code = 4


class ChainError(NodeError):
    """The chain does not answer, or gives an invalid answer."""

    exit_code = 5


class NetworkError(NodeError):
    """A download failed, or no peer answered."""

    exit_code = 6


class ModelError(NodeError):
    """The base, an adapter or the device can't be used."""

    exit_code = 7


class DeviceError(ModelError):
    """The device can't run the base now. The rest of the node goes on, and the message says what helps.

    `can_recover`: False if only a change by the operator and a new start can help, as with an outdated driver.
    """

    def __init__(self, message: str, *, can_recover: bool = True) -> None:
        super().__init__(message)
        self.can_recover = can_recover
