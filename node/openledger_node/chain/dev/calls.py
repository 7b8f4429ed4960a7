"""Messages on the development chain without a transaction: calls and gas estimates."""

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

# ---- Python's recursion limit: high only where the EVM runs, since contracts may call each other 1,024 levels deep
#
# py-evm sets a limit of 12,288 frames for the whole process when it is imported. With that limit, recursive C code
# such as json's scanner overflows the stack before Python stops it, and foreign text could crash the process. Without
# it, a contract that calls itself would end the chain. Modules that import py-evm import this module after it.

FRAMES_MAX: Final = 1_000
"""Python's default."""

EVM_FRAMES_MAX: Final = 12_288
"""Twelve frames per call."""

_lock = threading.Lock()
_num_inside = 0

sys.setrecursionlimit(FRAMES_MAX)


@contextmanager
def room_for_calls() -> Iterator[None]:
    """Let the EVM recurse as deep as its rules allow."""
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
PASSED_ON_DIVISOR: Final = 64
"""A call passes on all but 1/64 of its gas, so a search that is this near to the least amount may end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMessage:
    """A call of an account, or the creation of a contract."""

    sender: bytes
    to: bytes  # empty: create a contract
    data: bytes = b""
    value: int = 0
    gas: int | None = None  # None: as much as a block may use


def call(state: StateAPI, message: CallMessage) -> bytes:
    """Run a message, restore the state, and return the result.

    Raises:
        RevertedError: a contract reverts.
        RpcError: it runs out of gas, or breaks another rule of the EVM.
    """
    computation = _run(state, message, message.gas or state.gas_limit)
    check_success(computation)
    return bytes(computation.output)


def estimate_gas(state: StateAPI, message: CallMessage) -> int:
    """The gas with which a message succeeds, at most a stipend and 1/63 more than it needs.

    Raises:
        RevertedError: a contract reverts with any amount of gas.
        RpcError: a block's gas or the sender's coins do not suffice.
    """
    most = message.gas or state.gas_limit
    computation = _run(state, message, most)
    check_success(computation)
    used = most - computation.get_gas_remaining()  # refunds are paid after the run, so they don't lower the need
    least = max(used, intrinsic_gas(_transaction(state, message, most)))
    if least < most and not _run(state, message, least).is_error:
        return least
    likely = least + CALL_STIPEND + least // (PASSED_ON_DIVISOR - 1)
    if likely < most and not _run(state, message, likely).is_error:
        return likely
    return _search(state, message, least, most)


def free_state(vm: Any, header: BlockHeaderAPI) -> StateAPI:
    """The state after a block, at that block's time, with a gas price of 0."""
    free: Any = header.copy(base_fee_per_gas=0)
    state: StateAPI = vm.build_state(vm.chaindb.db, free, vm.chain_context, vm.previous_hashes)
    return state


def check_success(computation: ComputationAPI) -> None:
    """Raise the error of a failed computation."""
    if not computation.is_error:
        return
    if isinstance(computation.error, Revert):
        raise RevertedError("execution reverted", data=bytes(computation.output))
    raise RpcError(SERVER_ERROR, f"{type(computation.error).__name__}: {computation.error}")


def _search(state: StateAPI, message: CallMessage, least: int, most: int) -> int:
    """Bisect between too little gas and enough."""
    while most - least > 1 and most - least > most // PASSED_ON_DIVISOR:
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
