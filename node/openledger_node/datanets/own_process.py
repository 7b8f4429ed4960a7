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
from ..home import Home, open_home
from . import review
from .about import rows_within
from .curated import collect, propose
from .curator_files import curators_from_plain, read_new_rows, review_state
from .own import RowBatch, state_of
from .proposals import read_decision, write_proposal
from .rows import read_rows
from .signed import check_place, read_signed
from .store import OwnDatanets

MODULE: Final = "openledger_node.datanets.own_process"
CHANGE_S_MAX: Final = 900.0
BREACHES_SHOWN: Final = 10

Order = dict[str, Any]
"""`home`, `do`, `datanet`, and by what is to be done:

`contribute` and `measure` the `rows` file and the `contributor`, or the file of a `signed` batch with what the
network has told of the Datanet in `curators`. `propose` and `collect` take these `curators` too, `propose` the file
to write in `out`, and `collect` the `file` of a decision. `show` takes the `file` of a proposal and the file for
its new `rows`, and no Datanet. All others take the `batch`. `approve` also takes `accounts`, `leave_out` and
`because`; `reject`, `appeal` and `decide` take `because`, the last two the `row`, and `decide` takes `upheld`.
"""

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
    """Change a Datanet, and return the batch as `datanet show BATCH --json` does, or what was asked.

    Raises:
        NodeError: there is no such Datanet or batch, or it can't be changed so.
        MalformedError: a contributor is invalid.
    """
    home = open_home(Path(order["home"]))
    if order["do"] == "show":
        return read_new_rows(Path(order["file"]), Path(order["rows"]))
    own, name = OwnDatanets(home), str(order["datanet"])
    if order["do"] in ("propose", "collect"):
        return _review_version(home, name, order)
    if order["do"] in ("contribute", "measure"):
        return _give(own, name, order)
    batch = _carry_out(own, name, order)
    return _told(own, name, batch)


def _told(own: OwnDatanets, name: str, batch: RowBatch) -> dict[str, Any]:
    plain = to_plain(batch)
    assert isinstance(plain, dict)
    return {"datanet": name, "state": state_of(own.get(name), batch), **plain}


def _carry_out(own: OwnDatanets, name: str, order: Order) -> RowBatch:
    match order["do"]:
        case "check":
            return review.check_again(own, name, order["batch"])
        case "approve":
            leave_out, because = order.get("leave_out", ()), order.get("because", "")
            accounts = order.get("accounts", {})
            return review.approve(own, name, order["batch"], accounts, leave_out=leave_out, because=because)
        case "reject":
            return review.reject(own, name, order["batch"], order["because"])
        case "appeal":
            return review.appeal(own, name, order["batch"], order["row"], order["because"])[0]
        case "decide":
            upheld, reason = order["upheld"], order["because"]
            return review.decide(own, name, order["batch"], order["row"], upheld=upheld, reason=reason)[0]
        case unknown:
            raise AssertionError(f"nobody orders {unknown}")


def _give(own: OwnDatanets, name: str, order: Order) -> dict[str, Any]:
    """Add rows as a batch, or only measure them; rows that the policy does not take are left out, and listed."""
    offer, breaches = None, []
    if signed := order.get("signed"):
        found = read_signed(Path(signed))
        check_place(found, curators_from_plain(order["curators"]).place, own.get(name).licence)
        rows, offer = found.rows, found.offer
    else:
        rows = read_rows(Path(order["rows"]), contributor=order["contributor"])
        breaches = own.breaches(name, rows, {})
        rows = rows_within(name, rows, breaches)
    if order["do"] == "measure":
        batch = review.measure(own, name, rows, is_signed=offer is not None)
    else:
        batch = own.contribute(name, rows, {}, offer)
    shown: Any = [to_plain(each) for each in breaches[:BREACHES_SHOWN]]
    return {**_told(own, name, batch), "num_breaches": len(breaches), "breaches": shown}


def _review_version(home: Home, name: str, order: Order) -> dict[str, Any]:
    """Propose a version to the curators, or take a decision of one; return how the review stands."""
    found = curators_from_plain(order["curators"])
    if order["do"] == "propose":
        proposal = propose(home, name, (), found.place, found.published)
        write_proposal(Path(order["out"]), proposal)
    else:
        (collected,) = collect(
            home, name, [read_decision(Path(order["file"]))], found.place, found.curators, found.need
        )
        if collected.is_outdated:
            raise NodeError(
                f"enough curators approve version {collected.proposed.version}, but your rows have changed since you "
                "proposed it, so nothing is approved: propose it again"
            )
    return review_state(home, name, found)


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
