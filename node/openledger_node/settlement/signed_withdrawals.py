"""The withdrawals that were signed here for other accounts to send, each written before it leaves.

A second one with the same nonce takes no money twice, because the chain pays one of them at most. It is not what most
people mean, so it takes a word of its own.
"""

import json
from itertools import count
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
    text = json.dumps(withdrawal_to_json(withdrawal), indent=2) + "\n"
    for number in count(1):  # a file may have been moved away, and another process may sign at the same time
        name = f"{withdrawal.account}-{withdrawal.nonce}-{number}.json"
        file = home.withdrawals / withdrawal.network / name
        try:
            write_private(file, text, is_new=True)
        except FileExistsError:
            continue
        return file
    raise AssertionError("a number is free")


def check_is_new(home: Home, network: str, account: Address, nonce: int, *, now_s: int) -> None:
    """Check that no withdrawal of this account and nonce was signed here that can still be sent.

    An earlier one whose payout somebody else has sent alone still owes its node the fee, which has this nonce.

    Raises:
        NodeError: there is one.
        ConfigError: the file of one is damaged.
    """
    for file in _files(home, network, account, nonce - 1):
        earlier = _read(file)
        if earlier.fees and earlier.deadline_s >= now_s:
            raise NodeError(
                f"the payout of {file} is made, and its fee can still be taken, with the nonce {nonce}. Only the fee "
                "or a new withdrawal can be paid. Wait until the node has taken the fee, or sign with --replace"
            )
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
