"""Shared steps of the money commands: ask the daemon or the chain, show the plan and its cost, confirm, send."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, get_type_hints

import typer

from ..errors import ConfigError, NodeError
from ..home import Home, claim_home, is_claimed
from ..keystore import WALLET, find_account, is_unattended
from .commands import typed_command
from .daemon_client import ask_daemon, load_settings, open_node_home
from .prompts import PASSWORD_FILE_HELP, confirm, password_of
from .render import emit_json, plain, say
from .units import amount as amount
from .units import open_amount as open_amount
from .units import wei_of as wei_of

TIMEOUT_S: Final = 90.0
"""Limit for one answer: the daemon may still be connecting, and the chain may be slow."""

POLL_S: Final = 0.5
DONE: Final = ("mined", "final", "reverted", "failed", "refused")
BAD: Final = ("reverted", "failed", "refused")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionFlags:
    """Flags of every command that moves money."""

    wallet: Annotated[
        str,
        typer.Option(metavar="ACCOUNT", help="Account that sends the transaction."),
    ] = WALLET
    password_file: Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP)] = None
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return as soon as it is sent; the node sees it through.")
    ] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False


def transaction_command(app: typer.Typer, verb: str) -> Callable[[Callable[..., dict[str, Any]]], None]:
    """Make a command of a function that returns a plan's arguments, with the options of `TransactionFlags`."""

    def add(arguments_of: Callable[..., dict[str, Any]]) -> None:
        flags = {spec.name for spec in fields(TransactionFlags)}

        def run(**given: Any) -> None:
            how = TransactionFlags(**{name: given.pop(name) for name in flags})
            carry_out(verb, arguments_of(**given), how)

        hints = get_type_hints(TransactionFlags, include_extras=True)
        options = [
            Parameter(spec.name, Parameter.KEYWORD_ONLY, default=spec.default, annotation=hints[spec.name])
            for spec in fields(TransactionFlags)
        ]
        own = [
            parameter.replace(kind=Parameter.KEYWORD_ONLY)
            for parameter in signature(arguments_of, eval_str=True).parameters.values()
        ]
        run.__signature__ = Signature([*own, *options])  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *options]}
        app.command(arguments_of.__name__.rstrip("_").replace("_", "-"), help=arguments_of.__doc__)(run)

    return add


class MoneyClient(Protocol):
    """Answers queries about money."""

    def ask(self, question: str, **arguments: Any) -> Any:
        """Answer one query.

        Raises:
            NodeError: the operator must act.
            ProtocolError: the query is refused.
        """


class DaemonMoneyClient:
    """Queries that the running daemon answers."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def ask(self, question: str, **arguments: Any) -> Any:
        """Ask over the control socket."""
        answer = ask_daemon(self._home, "POST", f"/money/{question}", arguments, timeout_s=TIMEOUT_S)
        if answer is None:
            raise NodeError("the daemon stopped in the meantime; run the command again")
        return answer


class LocalMoneyClient:
    """Queries that this process answers while no daemon runs; each first reads the chain up to its latest block."""

    def __init__(self, session: Any, questions: Any) -> None:
        self._session = session
        self._questions = questions

    def ask(self, question: str, **arguments: Any) -> Any:
        """Read the chain, send waiting transactions, and answer."""
        self._session.step()
        return self._questions.answer(question, arguments)

    def fund_throwaway_wallet(self) -> None:
        """Give the wallet of a development network its first coins, as a starting daemon does.

        Without coins, a transaction would wait for ever.
        """
        from ..settlement.open import prepare_development

        if self._session.network.is_development:
            prepare_development(self._session, is_bonding=False)


@contextmanager
def open_money(home: Home | None = None) -> Iterator[MoneyClient]:
    """Open queries through the daemon, or in this process if none runs: the ledger has one writer at a time.

    Raises:
        CommandRunningError: another command holds the data directory.
        NodeError: the node is on no network, or its chain does not answer.
    """
    home = home or open_node_home()
    if is_claimed(home):
        yield DaemonMoneyClient(home)
        return
    with claim_home(home, typed_command()):
        yield from _open_own(home)


def _open_own(home: Home) -> Iterator[MoneyClient]:
    from ..accounting.queries import open_queries
    from ..attribution.registry import AdapterRegistry
    from ..engine.tokenizer import open_tokenizer
    from ..ledger.ledger import open_ledger
    from ..models.bases import find_base
    from ..settlement.open import connect, open_home_network  # imports the call encoder, half a second

    config = load_settings(home)
    with open_home_network(home, config) as place:
        if place.network is None:
            raise ConfigError(f"this node is on no network: {place.why_none or '[node] network is local'}")
        with (
            closing(open_ledger(home.ledger(place.network_id))) as ledger,
            closing(connect(home, config, place.network, ledger)) as session,
        ):
            questions = open_queries(
                home,
                session,
                registry=AdapterRegistry(home, session.deployment, ledger),
                tokenizer=lambda: open_tokenizer(find_base(home, config.inference.base).folder),
            )
            yield LocalMoneyClient(session, questions)


def carry_out(verb: str, arguments: Mapping[str, Any], how: TransactionFlags) -> None:
    """Show what a command would do and cost, ask for confirmation, send it, and show the result.

    Raises:
        NodeError: the command was refused, or a transaction failed on the chain.
    """
    home = open_node_home()
    with open_money(home) as money:
        if isinstance(money, LocalMoneyClient):
            money.fund_throwaway_wallet()
        where = money.ask("network")
        password = _password(home, where["network"], how)
        plan = money.ask("plan", verb=verb, arguments={**arguments, "wallet": how.wallet}, password=password)
        _show_plan(plan, where)
        confirm("go ahead?", yes=how.yes or where["is_development"] or not plan["steps"])
        found = money.ask("act", plan=plan["plan"])["transactions"]
        if not how.no_wait:
            found = wait_for(money, [each["key"] for each in found])
    _show_transactions(found, as_json=how.as_json)


def wait_for(money: MoneyClient, keys: list[str]) -> list[dict[str, Any]]:
    """Wait until the transactions are in blocks. After Ctrl-C the daemon sees them through."""
    found: list[dict[str, Any]] = money.ask("transactions", keys=keys)["transactions"]
    try:
        while not all(each["state"] in DONE for each in found):
            time.sleep(POLL_S)
            found = money.ask("transactions", keys=keys)["transactions"]
    except KeyboardInterrupt:
        say("the transactions are stored, and the daemon sees them through")
    return found


def transaction_line(found: Mapping[str, Any]) -> str:
    """Describe the state of a transaction in one line."""
    where = f" in block {found['block']}" if found["block"] is not None else ""
    style = "red" if found["state"] in BAD else "bold"
    why = f": {plain(found['error'])}" if found["error"] else ""
    return (
        f"[{style}]{found['state']}[/]{where}  {plain(found['summary'])}  [dim]{found['hash'] or 'not sent'}[/]{why}"
    )


def in_s(ready_at_s: int | None, chain_time_s: int) -> str:
    """Describe the time left until `ready_at_s` on the chain's clock: `now`, `in 40 s` or `in 2 h 5 min`."""
    if ready_at_s is None:
        return ""
    left = ready_at_s - chain_time_s
    return "now" if left <= 0 else f"in {left // 3600} h {left % 3600 // 60} min" if left >= 3600 else f"in {left} s"


def _password(home: Home, network: str, how: TransactionFlags) -> str | None:
    if is_unattended(network, how.wallet):
        return None
    return password_of(find_account(home.network_keys(network), how.wallet).file, how.password_file).text


def _show_plan(plan: Mapping[str, Any], where: Mapping[str, Any]) -> None:
    say(f"[dim]from {plan['account']} on {plain(where['network'])}[/]")
    _say_details(plan)
    for step in plan["steps"]:
        say(f"  {plain(step['summary'])}   [dim]gas {step['gas']:,}, {amount(int(step['fee_wei']))} coins[/]")
    _show_note(plan["note"], indent="  ")
    if len(plan["steps"]) > 1:
        say(f"  [dim]gas in total: {amount(int(plan['fee_wei']))} coins[/]")


def _say_details(found: Mapping[str, Any]) -> None:
    for line in found["details"]:
        say(f"  {plain(line)}")


def _show_transactions(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        emit_json("transactions", {"transactions": found})
    else:
        for each in found:
            say(transaction_line(each))
    if failed := [each for each in found if each["state"] in BAD]:
        raise NodeError(f"{failed[0]['summary']}: {failed[0]['error'] or failed[0]['state']}")


def _show_note(note: str | None, *, indent: str = "") -> None:
    for line in (note or "").splitlines():
        say(f"{indent}{plain(line)}")
