"""The withdrawals that were signed here for other accounts to send, each written before it leaves.

A second one with the same nonce takes no money twice, because the chain pays one of them at most. It is not what most
people mean, so it takes a word of its own.
"""

import json
from pathlib import Path

from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import Address
from openledger_protocol.relayed import RelayedWithdrawal, withdrawal_from_json, withdrawal_to_json

from ..errors import ConfigError, NodeError
from ..home import Home, write_private


def keep_withdrawal(home: Home, withdrawal: RelayedWithdrawal) -> Path:
    """Write a signed withdrawal to the data directory, before anybody sees its signatures, and return its file.

    Raises:
        DiskError: the disk is full or read-only.
    """
    earlier = _files(home, withdrawal.network, withdrawal.account, withdrawal.nonce)
    name = f"{withdrawal.account}-{withdrawal.nonce}-{len(earlier) + 1}.json"
    file = home.withdrawals / withdrawal.network / name
    write_private(file, json.dumps(withdrawal_to_json(withdrawal), indent=2) + "\n", is_new=True)
    return file


def check_is_new(home: Home, network: str, account: Address, nonce: int, *, now_s: int) -> None:
    """Check that no withdrawal of this account and nonce was signed here that can still be sent.

    Raises:
        NodeError: there is one.
        ConfigError: the file of one is damaged.
    """
    for file in _files(home, network, account, nonce):
        if _read(file).deadline_s >= now_s:
            raise NodeError(
                f"a withdrawal with the nonce {nonce} was signed already and can still be sent: {file}. Only one of "
                "the two can be paid. Give that file to a node again, or sign another one with --replace"
            )


def _files(home: Home, network: str, account: Address, nonce: int) -> list[Path]:
    return sorted((home.withdrawals / network).glob(f"{account}-{nonce}-*.json"))


def _read(file: Path) -> RelayedWithdrawal:
    try:
        return withdrawal_from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ProtocolError) as error:
        raise ConfigError(f"{file} is damaged: move it away, and run the command again") from error
