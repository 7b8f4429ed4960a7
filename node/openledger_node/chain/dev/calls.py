"""Running a message on the development chain without a transaction: calls, and estimates of gas."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from eth.abc import BlockHeaderAPI, ComputationAPI, StateAPI
from eth.exceptions import Revert
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth.vm.spoof import SpoofTransaction
from eth_utils.exceptions import ValidationError

from openledger_protocol.errors import RevertedError

from ..rpc import SERVER_ERROR, RpcError
from .mempool import intrinsic_gas

# ---- How deep Python may recurse: deep where the EVM runs, for contracts call each other 1,024 times, nowhere else.
#
# py-evm sets a limit of 12,288 frames for the whole process when it is imported. With that, C code that recurses,
# such as json's scanner, runs out of stack before it is stopped, and a stranger's text ends the process. Without it,
# a contract that calls itself would end the chain. Whoever imports py-evm imports this after it.

FRAMES_MAX: Final = 1_000
"""Python's own limit."""

EVM_FRAMES_MAX: Final = 12_288
"""Twelve frames a call."""

_lock = threading.Lock()
_num_inside = 0

sys.setrecursionlimit(FRAMES_MAX)


@contextmanager
def room_for_calls() -> Iterator[None]:
    """Let the EVM recurse as deep as it may."""
    _enter(1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(change: int) -> None:
    global _num_inside
    with _lock:
        _num_inside += change
        sys.setrecursionlimit(EVM_FRAMES_MAX if _num_inside else FRAMES_MAX)


# ---- calls

CALL_STIPEND: Final = 2_300
TOLERANCE_DIVISOR: Final = 64
"""An estimate is at most this part above what is needed: a smaller error would take more runs than it is worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMessage:
    """What is asked of an account, by whom."""

    sender: bytes
    to: bytes  # empty: create a contract
    data: bytes = b""
    value: int = 0
    gas: int | None = None  # None: as much as a block has


def call(state: StateAPI, message: CallMessage) -> bytes:
    """What a message returns; the state is as before afterwards.

    Raises:
        RevertedError: a contract refused it.
        RpcError: it ran out of gas, or broke another rule of the machine.
    """
    computation = _run(state, message, message.gas or state.gas_limit)
    check_success(computation)
    return bytes(computation.output)


def estimate_gas(state: StateAPI, message: CallMessage) -> int:
    """The least gas with which a message succeeds, or a little more.

    Raises:
        RevertedError: a contract refuses it whatever the gas.
        RpcError: it can't succeed within a block's gas, or not with the sender's coins.
    """
    most = message.gas or state.gas_limit
    computation = _run(state, message, most)
    check_success(computation)
    used = most - computation.get_gas_remaining()  # what is given back comes after it was spent
    least = max(used, intrinsic_gas(_transaction(state, message, most)))
    if least < most and not _run(state, message, least).is_error:
        return least
    likely = least + CALL_STIPEND + least // 63  # a call passes on 63 parts of 64
    if likely < most and not _run(state, message, likely).is_error:
        most = likely
    return _search(state, message, least, most)


def free_state(vm: Any, header: BlockHeaderAPI) -> StateAPI:
    """The state after a block, seen in that block's own time, where gas costs nothing."""
    free: Any = header.copy(base_fee_per_gas=0)
    state: StateAPI = vm.build_state(vm.chaindb.db, free, vm.chain_context, vm.previous_hashes)
    return state


def check_success(computation: ComputationAPI) -> None:
    """Raise what a failed computation failed of."""
    if not computation.is_error:
        return
    if isinstance(computation.error, Revert):
        raise RevertedError("execution reverted", data=bytes(computation.output))
    raise RpcError(SERVER_ERROR, f"{type(computation.error).__name__}: {computation.error}")


def _search(state: StateAPI, message: CallMessage, least: int, most: int) -> int:
    """Halve what lies between too little and enough."""
    while most - least > 1 and most - least > most // TOLERANCE_DIVISOR:
        middle = (least + most) // 2
        if _run(state, message, middle).is_error:
            least = middle
        else:
            most = middle
    return most


def _run(state: StateAPI, message: CallMessage, gas: int) -> ComputationAPI:
    snapshot = state.snapshot()
    try:
        with room_for_calls():
            return state.apply_transaction(_transaction(state, message, gas))
    except ValidationError as error:
        raise RpcError(SERVER_ERROR, f"insufficient funds for transfer: {error}") from error
    finally:
        state.revert(snapshot)


def _transaction(state: StateAPI, message: CallMessage, gas: int) -> Any:
    unsigned = PragueTransactionBuilder.new_unsigned_dynamic_fee_transaction(
        chain_id=state.execution_context.chain_id,
        nonce=state.get_nonce(message.sender),  # type: ignore[arg-type]  # an address is bytes to us
        max_priority_fee_per_gas=0,
        max_fee_per_gas=0,
        gas=gas,
        to=message.to,  # type: ignore[arg-type]
        value=message.value,
        data=message.data,
        access_list=(),
    )
    return SpoofTransaction(unsigned, from_=message.sender)
