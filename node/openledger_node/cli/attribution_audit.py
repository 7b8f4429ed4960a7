"""`attribution audit`: buy answers as any user does, and recompute the shares of every receipt."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer

from ..errors import NodeError
from ..home import Home
from ..text import counted
from .daemon_client import RefusedError, ask_daemon, open_node_home
from .prompts import confirm
from .render import emit_json, out_console, plain, say
from .units import open_amount, wei_of

PLAN_TIMEOUT_S: Final = 120.0
BUY_TIMEOUT_S: Final = 900.0
"""For one answer of a slow node, and for the recomputation of its shares."""

BUDGET_FACTOR: Final = 2
"""Without --budget: a busy node asks more than it advertises."""

WRONG: Final = 1
MARKS: Final = {"right": ("green", "right"), "wrong": ("bold red", "WRONG"), "unknown": ("yellow", "unknown")}
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dataclass(kw_only=True)
class _Run:
    """The purchases of one audit so far."""

    budget_wei: int
    results: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)  # requests that nobody answered
    num_left_out: int = 0  # requests that the budget no longer covers, or whose node has lied

    @property
    def spent_wei(self) -> int:
        """The sum of the receipts."""
        return sum(int(result["amount_wei"]) for result in self.results)

    @property
    def liars(self) -> set[str]:
        """Nodes with a wrong receipt: nothing more is bought from them."""
        return {result["node"] for result in self.results if result["verdict"] == "wrong"}

    def count(self, verdict: str) -> int:
        """The number of receipts with a verdict."""
        return sum(result["verdict"] == verdict for result in self.results)


def audit(
    node: Annotated[str | None, typer.Option(help="Test only the node with this wallet address.")] = None,
    adapter: Annotated[
        str | None,
        typer.Option(help="Test only this adapter; by default all in the library here."),
    ] = None,
    requests: Annotated[int, typer.Option(help="Number of answers to buy.", min=1, max=1_000)] = 8,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1, max=1_024)] = 128,
    budget: Annotated[
        str | None,
        typer.Option(help="Most OPEN to spend; by default twice the estimate.", metavar="OPEN"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> int:
    """Buy answers from nodes that serve an adapter, and recompute the shares of every receipt.

    The prompts are drawn from the rows that taught the adapter, and the node can't tell them from a user's. The
    running node pays, and the adapter must be here: `openledger-node adapters pull`. Exit code 1 if any receipt is
    wrong.

    Examples: `openledger-node attribution audit --adapter harbour`, `openledger-node attribution audit --requests 20`
    """
    home = open_node_home()
    wanted = {"node": node, "adapter": adapter, "requests": requests, "max_tokens": max_tokens}
    plan = _ask(home, "plan_share_tests", wanted, PLAN_TIMEOUT_S)
    run = _Run(budget_wei=int(wei_of(budget)) if budget else BUDGET_FACTOR * int(plan["about_wei"]))
    _show_plan(plan, run)
    confirm("go ahead?", yes=yes)
    for request in plan["requests"]:
        _test(home, run, request)
    if as_json:
        emit_json("share_audit", _to_plain(run))
    else:
        _show_end(run)
    if not run.results:
        why = run.failures[-1]["why"] if run.failures else "the budget covers no request"
        raise NodeError(f"no answer could be bought, so nothing was tested: {why}")
    return WRONG if run.liars else 0


def _ask(home: Home, question: str, arguments: dict[str, Any], timeout_s: float) -> Any:
    answer = ask_daemon(home, "POST", f"/money/{question}", arguments, timeout_s=timeout_s)
    if answer is None:
        raise NodeError("only a running node can buy answers: start it with `openledger-node start`")
    return answer


def _test(home: Home, run: _Run, request: dict[str, Any]) -> None:
    """Buy one answer, unless its node has lied already or the budget is spent."""
    left_wei = run.budget_wei - run.spent_wei
    if request["node"] in run.liars or int(request["about_wei"]) > left_wei:
        run.num_left_out += 1
        return
    try:
        found = _ask(home, "test_shares", {"request": request, "left_wei": str(left_wei)}, BUY_TIMEOUT_S)
    except RefusedError as error:
        run.failures.append({"node": request["node"], "adapter": request["adapter"], "why": str(error)})
        say(f"[yellow]no answer[/] {request['node']} {plain(request['adapter'])}: {plain(str(error))}")
        return
    for result in found["receipts"]:
        run.results.append({**result, "adapter": request["adapter"]})
        _show(run.results[-1])


def _show(result: dict[str, Any]) -> None:
    style, word = MARKS[result["verdict"]]
    receipt = result["receipt"][:18] + "…" if result["receipt"] else "no receipt"
    say(
        f"[{style}]{word:<7}[/] {receipt}  {result['node']}  {plain(result['adapter'])}  "
        f"{open_amount(result['amount_wei'])}  [dim]{plain(result['detail'] or '')}[/]"
    )


def _show_plan(plan: dict[str, Any], run: _Run) -> None:
    num_requests, num_nodes = len(plan["requests"]), plan["num_nodes"]
    say(
        f"{counted(num_requests, 'answer')} of {counted(num_nodes, 'node')} for about "
        f"{open_amount(plan['about_wei'])}, and at most {open_amount(run.budget_wei)}"
    )
    say(
        f"[dim]a first purchase from a node deposits {open_amount(plan['deposit_wei'])}; what is left comes "
        r"back by `channels close`. \[payer] request_max_wei and day_max_wei hold as well[/]"
    )


def _show_end(run: _Run) -> None:
    out_console.print(
        f"{run.count('right')} right, {run.count('wrong')} wrong, {run.count('unknown')} unknown; "
        f"{open_amount(run.spent_wei)} spent"
    )
    if run.failures:
        say(f"{counted(len(run.failures), 'request')} got no answer")
    if run.num_left_out:
        say(f"{counted(run.num_left_out, 'request')} left out: the budget is spent, or the node has lied already")
    for result in run.results:
        if result["verdict"] == "wrong":
            out_console.print(
                f"[bold red]WRONG[/] {result['receipt']} of {result['node']}: {plain(result['detail'])}\n"
                f"  open a case: `openledger-node attribution challenge {result['receipt']}`"
            )


def _to_plain(run: _Run) -> dict[str, Any]:
    return {
        **{verdict: run.count(verdict) for verdict in MARKS},
        "spent_wei": str(run.spent_wei),
        "budget_wei": str(run.budget_wei),
        "receipts": run.results,
        "failures": run.failures,
        "left_out": run.num_left_out,
    }
