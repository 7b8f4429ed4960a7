"""The process that changes a Datanet for the daemon: comparing 20,000 rows takes seconds of the processor.

It reads one JSON object from its standard input, an order, and prints one, the batch or an error.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from openledger_protocol.codec import to_plain
from openledger_protocol.errors import MalformedError

from ..errors import NodeError
from ..home import open_home
from .rows import read_rows
from .store import OwnDatanets

MODULE: Final = "openledger_node.datanets.own_process"
CHANGE_S_MAX: Final = 900.0

Order = dict[str, Any]
"""`home`, `do`, `datanet`; for `contribute` the `rows` file and the `contributor`, for `approve` the `batch`."""

RunOrder = Callable[[Order], dict[str, Any]]


def main() -> None:
    """Carry out the order on the standard input."""
    try:
        told = carry_out(json.load(sys.stdin))
    except MalformedError as error:
        told = {"malformed": str(error)}
    except NodeError as error:
        told = {"error": str(error)}
    print(json.dumps(told))


def carry_out(order: Order) -> dict[str, Any]:
    """Change a Datanet, and return the batch as `datanet show BATCH --json` does.

    Raises:
        NodeError: there is no such Datanet or batch, or it can't be changed so.
        MalformedError: a contributor is invalid.
    """
    own, name = OwnDatanets(open_home(Path(order["home"]))), str(order["datanet"])
    if order["do"] == "contribute":
        rows = read_rows(Path(order["rows"]), contributor=order["contributor"])
        batch = own.contribute(name, rows, {})
    else:
        batch = own.approve(name, order["batch"], {})
    state = "approved" if batch.digest in own.get(name).approved else "pending"
    plain = to_plain(batch)
    assert isinstance(plain, dict)
    return {"datanet": name, "state": state, **plain}


def run_order(order: Order) -> dict[str, Any]:
    """Carry out an order in a process of its own. It blocks.

    Raises:
        NodeError: as `carry_out`, or the process has failed.
        MalformedError: as `carry_out`.
    """
    try:
        ran = subprocess.run(
            [sys.executable, "-X", "utf8", "-m", MODULE],
            input=json.dumps(order).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=CHANGE_S_MAX,
            check=False,
            start_new_session=True,
        )
        told = json.loads(ran.stdout)
    except subprocess.TimeoutExpired as error:
        raise NodeError(f"comparing the rows took more than {CHANGE_S_MAX:g} s: give fewer at a time") from error
    except ValueError as error:
        raise NodeError(
            f"the process that compares the rows has ended with status {ran.returncode}: if memory ran out, "
            "give fewer rows at a time"
        ) from error
    assert isinstance(told, dict)
    if "malformed" in told:
        raise MalformedError(told["malformed"])
    if "error" in told:
        raise NodeError(told["error"])
    return told


if __name__ == "__main__":
    main()
