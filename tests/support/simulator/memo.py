"""Checks that depend on bytes alone, made once for all nodes: or else signatures would be most of a simulation."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from openledger_protocol import advertisement
from openledger_protocol.errors import ProtocolError

from .seeded import replaced

PURE = ("read_signed", "_read_body", "_check_binding", "check_peer_signature", "peer_id_from_public_key")
KEPT_MAX = 1 << 16


@contextmanager
def shared_checks() -> Iterator[None]:
    """Share the results of pure checks of advertisements between the nodes of this process."""
    with ExitStack() as stack:
        for name in PURE:
            stack.enter_context(replaced(advertisement, name, _remembered(getattr(advertisement, name))))
        yield


def _remembered(check: Callable[..., Any]) -> Callable[..., Any]:
    results: dict[Any, tuple[Any, ProtocolError | None]] = {}

    def remembered(*args: Any) -> Any:
        if args not in results:
            if len(results) >= KEPT_MAX:
                results.clear()
            try:
                results[args] = (check(*args), None)
            except ProtocolError as error:
                results[args] = (None, error)
        value, refusal = results[args]
        if refusal:
            raise refusal
        return value

    return remembered
