"""`contributor withdraw`: sign a withdrawal that a node sends for a fee, without gas and without a node."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from openledger_protocol.errors import ProtocolError
from openledger_protocol.primitives import Address, Wei

from ..chain.client import ChainClient
from ..errors import ChainError, ConfigError, InputError, NodeError
from ..home import Home, write_private
from ..keystore import WALLET, find_account
from ..network_file import Network
from .daemon_client import open_node_home
from .network_choice import Endpoints, NetworkHash, NetworkSource, choose_network, open_endpoints
from .prompts import PASSWORD_FILE_HELP, confirm, open_account
from .render import plain, say
from .units import address_of, open_amount, seconds_of, wei_of

LIFETIME_S_MIN = 120
"""A node refuses what ends within a minute, since it may be mined too late."""

LIFETIME_S_MAX = 365 * 24 * 3600


def withdraw(
    amount: Annotated[
        str | None, typer.Argument(help="Amount of OPEN that arrives; by default all that is credited, less the fee.")
    ] = None,
    fee: Annotated[
        str, typer.Option(metavar="OPEN", help="What the node that sends it earns, as `rewards quote` there says.")
    ] = "0",
    relay: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Node that earns the fee; give several, and one of them gets it."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Account to pay; by default the one that signs.")
    ] = None,
    deadline: Annotated[str, typer.Option(metavar="DURATION", help="Nobody can send it after this time.")] = "7d",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write; by default stdout.")] = None,
    wallet: Annotated[str, typer.Option(metavar="ACCOUNT", help="Account whose earnings these are.")] = WALLET,
    network: NetworkSource = None,
    sha256: NetworkHash = None,
    rpc: Endpoints = None,
    password_file: Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP)] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Sign another one while an earlier can be sent.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Sign a withdrawal that a node sends for a fee: you need no gas and no node.

    The fee is yours to name, and nobody can take more, pay another account, or take the fee without the payout. Give
    the file to the owner of a node named with --relay, who sends it with `rewards relay FILE`.
    """
    wish = _read_wish(amount, fee, relay, to, deadline)
    home, chosen = open_node_home(), choose_network(network, sha256)
    account = find_account(home.network_keys(chosen.network), wallet)
    if out and out.exists():
        raise ConfigError(f"{out} exists already: name another file")
    with open_endpoints(chosen, rpc) as clients:
        credit = _read_credit(clients, chosen, account.address)
    terms = _terms(credit, wish)
    _check_is_new(home, chosen, credit, is_replacing=replace)
    _show(credit, terms)
    confirm("sign it?", yes=yes or chosen.is_development)
    text = json.dumps(_sign(home, chosen, credit, terms, wallet, password_file), indent=2) + "\n"
    if out is None:
        print(text, end="")
        return
    write_private(out, text, is_new=True)
    say(f"written to [bold]{plain(str(out))}[/]: give it to a node's owner, who runs `rewards relay`")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """The wishes of a command, before the chain is asked."""

    amount_wei: Wei | None  # None: all
    fee_wei: Wei
    relays: tuple[Address, ...]
    to: Address | None  # None: the account itself
    lifetime_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Credit:
    """The credit of an account that can be withdrawn, at one block."""

    account: Address
    balance_wei: Wei
    nonce: int
    now_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """The terms that are signed."""

    amount_wei: Wei
    fee_wei: Wei
    relays: tuple[Address, ...]
    to: Address
    deadline_s: int


def _read_credit(clients: Sequence[ChainClient], network: Network, account: Address) -> _Credit:
    """Read an account's balance and nonce, on which all endpoints must agree.

    Raises:
        ChainError: an endpoint can't be used, or two differ.
    """
    from ..audit.chain import pin_chain  # imports the ABI decoder, a third of a second

    found = []
    number = min(client.head().number for client in clients)
    try:
        for client in clients:
            chain = pin_chain(client, network, number)
            found.append(
                _Credit(
                    account=account,
                    balance_wei=Wei(chain.ask("AttributionRewards", "balanceOf", account)),
                    nonce=chain.ask("AttributionRewards", "nonceOf", account),
                    now_s=chain.block.timestamp_s,
                )
            )
    except ProtocolError as error:
        raise ChainError(f"the endpoint's answers can't be parsed: {error}") from error
    if any(each != found[0] for each in found):
        raise ChainError(f"two endpoints tell different balances of {account}: ask a third one with another --rpc")
    return found[0]


def _read_wish(amount: str | None, fee: str, relay: list[str] | None, to: str | None, deadline: str) -> _Wish:
    fee_wei, relays = Wei(int(wei_of(fee))), tuple(dict.fromkeys(address_of(each) for each in relay or ()))
    if fee_wei and not relays:
        raise InputError("name the node that earns the fee with --relay ADDRESS, as `rewards quote` there says")
    if relays and not fee_wei:
        raise InputError("--relay names who earns the fee: give it with --fee")
    lifetime_s = seconds_of(deadline)
    if not LIFETIME_S_MIN <= lifetime_s <= LIFETIME_S_MAX:
        raise InputError(f"--deadline is between {LIFETIME_S_MIN} s and a year, not {deadline}")
    return _Wish(
        amount_wei=None if amount is None else Wei(int(wei_of(amount))),
        fee_wei=fee_wei,
        relays=relays,
        to=None if to is None else address_of(to),
        lifetime_s=lifetime_s,
    )


def _terms(credit: _Credit, wish: _Wish) -> _Terms:
    amount_wei = credit.balance_wei - wish.fee_wei if wish.amount_wei is None else wish.amount_wei
    if amount_wei <= 0 or amount_wei + wish.fee_wei > credit.balance_wei:
        raise NodeError(
            f"{open_amount(credit.balance_wei)} are credited to {credit.account}, which does not cover "
            f"{'a payout' if wish.amount_wei is None else open_amount(amount_wei)} and a fee of "
            f"{open_amount(wish.fee_wei)}: `openledger-node contributor show` says what is pending"
        )
    return _Terms(
        amount_wei=Wei(amount_wei),
        fee_wei=wish.fee_wei,
        relays=wish.relays,
        to=wish.to or credit.account,
        deadline_s=credit.now_s + wish.lifetime_s,
    )


def _check_is_new(home: Home, network: Network, credit: _Credit, *, is_replacing: bool) -> None:
    from ..settlement.signed_withdrawals import check_is_new

    if not is_replacing:
        check_is_new(home, network.network, credit.account, credit.nonce, now_s=credit.now_s)


def _show(credit: _Credit, terms: _Terms) -> None:
    from ..text import rfc3339

    say(f"  {terms.to} gets {open_amount(terms.amount_wei)} of {open_amount(credit.balance_wei)} credited")
    if terms.relays:
        whom = " or ".join(terms.relays)
        say(f"  {whom} gets {open_amount(terms.fee_wei)} for sending it, and nothing before you are paid")
    say(f"  [dim]it can be sent once, until {rfc3339(terms.deadline_s)[:19].replace('T', ' ')} UTC[/]")


def _sign(
    home: Home, network: Network, credit: _Credit, terms: _Terms, wallet: str, password_file: Path | None
) -> dict[str, Any]:
    from openledger_protocol.eip712 import rewards_domain
    from openledger_protocol.relayed import sign_withdrawal, withdrawal_to_json
    from openledger_protocol.signatures import sign_digest

    from ..settlement.signed_withdrawals import keep_withdrawal

    key = open_account(home, network.network, wallet, password_file)
    withdrawal = sign_withdrawal(
        network=network.network,
        domain=rewards_domain(network.chain_id, network.contracts["AttributionRewards"]),
        account=credit.account,
        to=terms.to,
        amount_wei=terms.amount_wei,
        nonce=credit.nonce,
        deadline_s=terms.deadline_s,
        fee_wei=terms.fee_wei,
        relays=terms.relays,
        sign=lambda digest: sign_digest(key.private_key, digest),
    )
    keep_withdrawal(home, withdrawal)
    return withdrawal_to_json(withdrawal)
