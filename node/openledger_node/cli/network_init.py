"""`network init`: the contracts of a new network, deployed and wired, and the network.json that nodes join with."""

import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.epoch import Voting, Windows
from openledger_protocol.primitives import Address, Wei

from ..chain.client import ChainClient
from ..chain.dev.constants import BANK, BANK_KEY, DEVELOPMENT_VOTING, DEVELOPMENT_WINDOWS
from ..chain.identity import check_identity, genesis_hash, is_development_chain
from ..errors import ChainError, ConfigError, InputError
from ..keystore import WALLET, Key, ensure_development_wallet
from ..network_file import (
    CONTRACTS,
    NETWORK_SCHEMA,
    Network,
    network_from_json,
    network_id_for_development,
    network_to_json,
    write_network,
)
from .chain import open_endpoint
from .daemon_client import open_node_home
from .network_check import check_public, check_url, join_line
from .network_source import check_draws
from .prompts import PASSWORD_FILE_HELP, confirm, open_account
from .render import emit_json, out_console, plain, say
from .units import address_of, amount, wei_of

if TYPE_CHECKING:
    from ..chain.token import TokenFacts

# ---- A network for real money: long enough for people to notice a problem and to react

DAY_S = 86_400

REAL_WINDOWS = Windows(
    epoch_s=DAY_S,
    propose_s=3 * DAY_S,
    window_s=3_600,
    redraw_blocks=256,
    slash_gap_s=6 * DAY_S,
    unbonding_s=16 * DAY_S,
    withdraw_delay_min_s=DAY_S,
    withdraw_delay_max_s=30 * DAY_S,
    withdraw_period_s=7 * DAY_S,
)

REAL_VOTING = Voting(
    delay_s=DAY_S,
    period_s=3 * DAY_S,
    timelock_s=2 * DAY_S,
    threshold_wei=Wei(1_000 * 10**18),
    quorum_floor_wei=Wei(10_000 * 10**18),
)
"""A vote takes 7 days at most, and stake stays within its reach for 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """A network that is not deployed yet: its contracts have placeholder addresses."""

    network: Network
    deployer: Key
    guardian: Address
    holder: Address
    voting: Voting
    token: "TokenFacts | None"  # None: OPEN is created
    token_address: Address | None

    @property
    def num_contracts(self) -> int:
        """The number of contracts that are created."""
        if self.token is None:
            return len(CONTRACTS)
        return len(CONTRACTS) - 1 if self.token.has_votes else len(CONTRACTS)


# ---- The command

Rpc = Annotated[list[str], typer.Option(help="JSON-RPC endpoint of the chain; can be given more than once.")]
Out = Annotated[Path, typer.Option(help="The network.json to write.")]
KeyName = Annotated[str | None, typer.Option(help="Account that deploys; not needed on a development chain.")]
PasswordFile = Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP)]
Name = Annotated[str | None, typer.Option(help="Id of the network; development networks choose their own.")]
Bootstrap = Annotated[
    list[str] | None, typer.Option(help="Address of a bootstrap node, /ip4/…/p2p/…; can be given more than once.")
]
Token = Annotated[
    str | None,
    typer.Option(help="ERC-20 token with 18 decimals to pay in, such as a stable coin. By default, OPEN is created."),
]
Holder = Annotated[
    str | None,
    typer.Option(help="Account that gets all OPEN, and so all votes; by default the one that deploys."),
]
Guardian = Annotated[
    str | None,
    typer.Option(
        help="Account, best a multisig, that can stop new deposits once; on a development chain this node's wallet."
    ),
]
ProposalVotes = Annotated[str | None, typer.Option(help="Votes that a proposer needs; by default 1000.")]
QuorumVotes = Annotated[
    str | None,
    typer.Option(
        help="Votes that a decision needs where 4 % of all are fewer; by default 10000, and required with --token."
    ),
]
CoinPrice = Annotated[
    str | None,
    typer.Option(
        "--coin-price",
        help="OPEN, or the token's units, for one coin of the chain: nodes compare gas with it. Required, except on "
        "a development chain, where gas costs nothing.",
    ),
]
Public = Annotated[
    bool,
    typer.Option(
        "--public",
        help="Others will join from the internet: deploy only if all endpoints and bootstrap nodes are public "
        "and answer, and print the line by which others join.",
    ),
]
Url = Annotated[str | None, typer.Option(help="With --public, the https:// URL at which you will publish the file.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def init(
    rpc: Rpc,
    out: Out,
    key: KeyName = None,
    password_file: PasswordFile = None,
    name: Name = None,
    bootstrap: Bootstrap = None,
    token: Token = None,
    holder: Holder = None,
    guardian: Guardian = None,
    proposal_votes: ProposalVotes = None,
    quorum_votes: QuorumVotes = None,
    coin_price: CoinPrice = None,
    public: Public = False,
    url: Url = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Deploy the contracts on a chain, and write the network.json that nodes join with.

    Votes then rule the parameters, the stakes and the treasury. The account that deploys keeps no power over them.
    """
    _check_options(out, token=token, holder=holder, quorum_votes=quorum_votes, url=url, is_public=public)
    with open_endpoint(rpc[0]) as client:
        is_development = is_development_chain(client)
        check_draws(client, is_development=is_development)
        price = _price(coin_price, is_development=is_development)
        found = _read_token(client, token)
        fields = _network(client, rpc, bootstrap or [], None if is_development else name, found, price)
        if public:
            check_public(fields)
        deployer = _deployer(key, password_file, is_development=is_development)
        plan = DeploymentPlan(
            network=fields,
            deployer=deployer,
            guardian=_guardian(guardian, deployer, fields),
            holder=address_of(holder) if holder else deployer.address,
            voting=_voting(proposal_votes, quorum_votes, is_development=is_development),
            token=found,
            token_address=address_of(token) if token else None,
        )
        _announce(client, plan)
        confirm(f"deploy {fields.network}?", yes=yes or deployer.address == BANK)
        network = _deploy(client, plan)
        check_identity(client, network)
        _check_powers(client, plan, network)
    write_network(out, network)
    _show_deployed(plan, network, out, url=url, is_public=public, as_json=as_json)


def _check_options(
    out: Path,
    *,
    token: str | None,
    holder: str | None,
    quorum_votes: str | None,
    url: str | None,
    is_public: bool,
) -> None:
    """Check what needs no chain, before anything is asked or paid.

    Raises:
        ConfigError: the file exists or can't be written, or two options exclude each other.
        InputError: nobody could join from the URL.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already, and a network is never overwritten: name another file")
    if token and holder:
        raise ConfigError(
            "--holder is for OPEN that is created, and --token names a token that exists: leave one out"
        )
    if token and not quorum_votes:
        raise ConfigError(
            "how many votes decide? A token that exists has no usual number: give --quorum-votes, best a part of the "
            "stake that you expect"
        )
    if not os.access(out.absolute().parent, os.W_OK):
        raise ConfigError(f"cannot write to {out.absolute().parent}, so nothing is deployed: name another --out")
    if url is not None:
        if not is_public:
            raise InputError("--url goes with --public, which prints the line by which others join")
        check_url(url)


# ---- The result


def _show_deployed(
    plan: DeploymentPlan, network: Network, out: Path, *, url: str | None, is_public: bool, as_json: bool
) -> None:
    line = join_line(sha256(out.read_bytes()).hexdigest(), url)
    if as_json:
        emit_json("network", network_to_json(network) | ({"join": line} if is_public else {}))
        return
    keeps = "only the guardian's power" if plan.guardian == plan.deployer.address else "no power over it"
    say(f"votes rule it now, and {plan.deployer.address} has {keeps}")
    where = plain(str(out))
    if not is_public:
        say(f"[bold]{plain(network.network)}[/] is deployed; join it: `openledger-node network join {where}`")
        return
    site = plain(url or "an https:// URL of yours")
    say(f"[bold]{plain(network.network)}[/] is deployed. Publish {where} unchanged at {site}.")
    say(
        "Its hash makes sure that nobody can change it on the way. Publish this line, best in a second place as well:"
    )
    out_console.print(plain(line))


# ---- The plan: what was typed is checked before anything is paid


def _read_token(client: ChainClient, token: str | None) -> "TokenFacts | None":
    from ..chain.token import read_token  # imports the call encoder, a third of a second

    return read_token(client, address_of(token)) if token else None


def _price(coin_price: str | None, *, is_development: bool) -> dict[str, str] | None:
    """The price of a coin of gas as network.json has it, of today."""
    if is_development:
        if coin_price:
            raise ConfigError("gas costs nothing on a development chain: leave --coin-price out")
        return None
    if coin_price is None:
        raise ConfigError(
            "what is a coin of this chain worth? Nodes compare the gas of a claim with what it brings: give "
            "--coin-price, in OPEN or the token that the network pays in"
        )
    if (open_wei := wei_of(coin_price)) == "0":
        raise InputError("a coin of a chain for real money is worth something: give --coin-price more than 0")
    return {"open_wei": open_wei, "date": datetime.now(UTC).date().isoformat()}


def _network(
    client: ChainClient,
    rpc: list[str],
    bootstrap: list[str],
    name: str | None,
    token: "TokenFacts | None",
    price: dict[str, str] | None,
) -> Network:
    genesis = genesis_hash(client)
    is_development = is_development_chain(client)
    chosen = network_id_for_development(genesis) if is_development else name or f"openledger-{client.chain_id()}"
    fields = {
        "schema": NETWORK_SCHEMA,
        "network": chosen,
        "chain_id": client.chain_id(),
        "rpc": rpc,
        "genesis_hash": genesis,
        "deploy_block": 0,
        "contracts": {contract: f"0x{number:040x}" for number, contract in enumerate(CONTRACTS)},
        "bootstrap": bootstrap,
        "token": {"symbol": token.symbol if token else "OPEN", "decimals": 18},
        "coin_price": price,
    }
    return network_from_json(json.dumps(fields), source="the network to deploy")


def _deployer(name: str | None, password_file: Path | None, *, is_development: bool) -> Key:
    if name is None and is_development:
        return Key(address=BANK, private_key=BANK_KEY)
    return open_account(open_node_home(), LOCAL_NETWORK, name or WALLET, password_file)


def _guardian(chosen: str | None, deployer: Key, network: Network) -> Address:
    """The chosen account; on a development network, this data directory's throwaway wallet by default."""
    if chosen is None and network.is_development:
        return ensure_development_wallet(open_node_home(), network.network).address
    guardian = address_of(chosen) if chosen else deployer.address
    if network.is_development or guardian != deployer.address:
        return guardian
    raise ConfigError(
        "the guardian can stop new deposits, and nobody can replace it, so it must not be the account that deploys: "
        "name another account, best a multisig, with --guardian"
    )


def _voting(proposal_votes: str | None, quorum_votes: str | None, *, is_development: bool) -> Voting:
    voting = DEVELOPMENT_VOTING if is_development else REAL_VOTING
    if proposal_votes:
        voting = replace(voting, threshold_wei=Wei(int(wei_of(proposal_votes))))
    if quorum_votes:
        voting = replace(voting, quorum_floor_wei=Wei(int(wei_of(quorum_votes))))
    if voting.quorum_floor_wei == 0:
        raise ConfigError("a quorum of 0 votes would let anybody decide: give more with --quorum-votes")
    return voting


def _announce(client: ChainClient, plan: DeploymentPlan) -> None:
    """Print what a deployment does and costs.

    Raises:
        ChainError: the account can't pay for it.
    """
    from ..chain.dev.deploy import CREATION_GAS, NUM_WIRINGS, WIRING_GAS  # as above

    deployer, fees = plan.deployer.address, client.fees()
    gas_most = plan.num_contracts * CREATION_GAS + NUM_WIRINGS * WIRING_GAS
    cost_most_wei = gas_most * (2 * fees.base_wei + fees.tip_wei)
    has_wei = client.coin_balance(deployer)
    say(f"deploys {plan.num_contracts} contracts on chain {plan.network.chain_id} from {deployer};")
    say(_whose_votes(plan))
    say(f"guardian: {plan.guardian}, who can stop new deposits once, for at most 30 days")
    say(f"gas: at most {amount(cost_most_wei)} coins")
    if price := plan.network.coin_price:
        say(f"one coin is taken to be worth {amount(price.open_wei)} {plain(plan.network.token.symbol)}")
    if has_wei < cost_most_wei:
        raise ChainError(f"{deployer} has {amount(has_wei)} coins: send it {amount(cost_most_wei - has_wei)} more")


def _whose_votes(plan: DeploymentPlan) -> str:
    if plan.token is None:
        return f"{plan.holder} gets all OPEN, which are also the votes"
    symbol = plain(plan.token.symbol)
    pays = f"the network pays in {symbol}" + (
        "" if plan.token.has_permits else ", whose payments need an approval each"
    )
    if plan.token.has_votes:
        return f"{pays}; votes are {symbol} whose holders have delegated them"
    return f"{pays}; votes are {symbol} that their holders put into a contract of wrapped votes"


# ---- Deployment


def _deploy(client: ChainClient, plan: DeploymentPlan) -> Network:
    from ..chain.dev.deploy import GivenToken, deploy_network  # as above

    given = None
    if plan.token and plan.token_address:
        given = GivenToken(address=plan.token_address, has_votes=plan.token.has_votes)
    contracts, deploy_block = deploy_network(
        client,
        plan.deployer.private_key,
        windows=DEVELOPMENT_WINDOWS if plan.network.is_development else REAL_WINDOWS,
        voting=plan.voting,
        token=given,
        holder=plan.holder,
        guardian=plan.guardian,
    )
    return replace(plan.network, contracts=contracts, deploy_block=deploy_block)


def _check_powers(client: ChainClient, plan: DeploymentPlan, network: Network) -> None:
    from ..chain.wiring import check_has_no_power, check_wiring  # as above

    check_wiring(client, network)
    if plan.guardian != plan.deployer.address:
        check_has_no_power(client, network, plan.deployer.address)
