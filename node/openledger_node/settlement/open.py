"""From a data directory and its settings to a session on its network: chain, keys and ledger."""

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.primitives import ZERO_WEI, Address, Wei

from ..chain.client import ChainClient
from ..chain.dev.constants import BANK_KEY
from ..chain.dev.deploy import deploy_network
from ..chain.dev.faucet import fund
from ..chain.dev.launch import BegunDevnet, Devnet
from ..chain.identity import check_identity
from ..config import Config
from ..errors import ChainError
from ..home import Home
from ..keystore import WALLET, ensure_development_wallet, ensure_hot_keys, find_account
from ..ledger.ledger import Ledger
from ..network_file import (
    Network,
    Token,
    current_network,
    embed_network,
    is_embedded,
    network_id_for_development,
    read_network,
)
from ..plugs import load_plug
from .actions import Action, AddStake, AppointSigner
from .early_chain import begin_own_chain
from .session import KeyRing, NetworkSession, NodeAccounts

# ---- A development network costs nothing: its bank funds throwaway accounts, and the node bonds by itself.

DEVELOPMENT_COINS_WEI = Wei(10 * 10**18)
DEVELOPMENT_SIGNER_COINS_WEI = Wei(10**18)
DEVELOPMENT_SPARE_WEI = Wei(100 * 10**18)
"""OPEN that a throwaway wallet gets beyond the minimum stake."""


def prepare_development(session: NetworkSession, *, is_bonding: bool = True) -> list[str]:
    """Fund the throwaway accounts of a development network, bond, and appoint the signer; return what was done.

    Raises:
        ChainError: the chain does not answer.
    """
    done = []
    wallet, signer = session.accounts.wallet, session.accounts.signer
    min_stake = session.params().min_stake_wei
    stake = session.deployment.stake(wallet)
    if session.deployment.coin_balance(signer) == ZERO_WEI:
        fund(session.client, session.network, signer, coin_wei=DEVELOPMENT_SIGNER_COINS_WEI, open_wei=0)
    if stake.bonded_wei == 0 and session.deployment.token_balance(wallet) < min_stake:
        fund(
            session.client,
            session.network,
            wallet,
            coin_wei=DEVELOPMENT_COINS_WEI,
            open_wei=min_stake + DEVELOPMENT_SPARE_WEI,
        )
        done.append("funded the throwaway wallet")
    if not is_bonding:
        return done
    actions: list[Action] = []
    if stake.bonded_wei < min_stake:
        actions.append(AddStake(amount_wei=Wei(min_stake - stake.bonded_wei)))
    if not session.deployment.is_signer(wallet, signer):
        actions.append(AppointSigner(signer=signer))
    # The bonding transactions of an earlier start may still be under way.
    is_under_way = any(found.intent.key.startswith("start:") for found in session.ledger.outbox.unfinished())
    if actions and not is_under_way:
        sign = session.ring.signer(wallet)
        steps = session.treasury.plan(actions, wallet, sign, key=f"start:{time.time_ns()}")
        session.send(steps)
        done += [step.intent.summary for step in steps]
    return done


# ---- open

log = logging.getLogger(__name__)

ENDPOINTS = 2
"""Endpoints of a network that are asked what is final, if so many answer."""

TOKEN = Token(symbol="OPEN", decimals=18)


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeNetwork:
    """The network of a data directory, and its development chain if this process runs it."""

    network: Network | None  # None: this machine answers only its own requests
    devnet: Devnet | None = None
    why_none: str | None = None  # why the configured network could not be opened

    @property
    def network_id(self) -> str:
        """The network's id, which names the ledger's folder."""
        return self.network.network if self.network else LOCAL_NETWORK


@contextmanager
def open_home_network(home: Home, config: Config, begun: BegunDevnet | None = None) -> Iterator[HomeNetwork]:
    """Find the configured network; an embedded one runs its chain until the context ends.

    `begun` is its process if `early_chain` started it. If a development chain does not start, there is no network,
    and the node still answers local requests.

    Raises:
        ConfigError: the configured network is not known here.
    """
    choice = config.node.network
    if not is_embedded(home, choice):
        yield HomeNetwork(network=current_network(home, choice))
        return
    try:
        devnet = (begun or begin_own_chain(home)).finish()
    except ChainError as error:
        yield HomeNetwork(network=None, why_none=str(error))
        return
    with devnet:
        yield HomeNetwork(network=_embedded_network(home, devnet), devnet=devnet)


def connect(home: Home, config: Config, network: Network, ledger: Ledger) -> NetworkSession:
    """Open a session of this data directory's operator on a network.

    Raises:
        ChainError: no endpoint answers, or none is on this network.
        KeyFileError: there is no wallet yet, or a hot key can't be opened.
    """
    hot = ensure_hot_keys(home, network.network)
    ring = KeyRing()
    ring.add(hot.signer, hot.authorizer)
    wallet = _wallet(home, network, ring)

    return NetworkSession(
        network=network,
        client=open_chain(network, config, is_own=is_embedded(home, config.node.network)),
        ledger=ledger,
        accounts=NodeAccounts(wallet=wallet, signer=hot.signer.address, authorizer=hot.authorizer.address),
        ring=ring,
        config=config,
    )


def open_chain(network: Network, config: Config, *, is_own: bool = False) -> ChainClient:
    """Connect to the first endpoint that answers and is on this network; the next one must agree on what is final.

    An endpoint that the operator has set is trusted alone. `is_own`: the chain is a process of this node.

    Raises:
        ChainError: there is none; the message names each endpoint's error.
    """
    is_own = is_own and not config.chain.rpc
    open_client = partial(
        load_plug("chain", "evm"), timeout_s=config.chain.timeout_s, chain_id=network.chain_id, is_own=is_own
    )
    urls, refused = [], []
    for url in [config.chain.rpc] if config.chain.rpc else network.rpc:
        try:
            with closing(open_client(url)) as client:
                check_identity(client, network)
            urls.append(url)
        except ChainError as error:
            refused.append(str(error))
        if len(urls) == ENDPOINTS:
            break
    if not urls:
        raise ChainError(f"no endpoint of {network.network} can be used: {'; '.join(refused)}")
    second = open_client(urls[1]) if len(urls) == ENDPOINTS else None
    first: ChainClient = open_client(urls[0], second=second)
    return first


def _wallet(home: Home, network: Network, ring: KeyRing) -> Address:
    """The wallet's address; a throwaway wallet is unlocked at once, others wait for their password."""
    if network.is_development:
        key = ensure_development_wallet(home, network.network)
        ring.add(key)
        return key.address
    return find_account(home.network_keys(network.network), WALLET).address


def _embedded_network(home: Home, devnet: Devnet) -> Network:
    """The network on our own development chain, at the chain's new address; deployed now if there is none."""
    file = home.network_file(network_id_for_development(devnet.genesis_hash))
    network = replace(read_network(file), rpc=(devnet.url,)) if file.exists() else _deploy(home, devnet)
    embed_network(home, network)
    return network


def _deploy(home: Home, devnet: Devnet) -> Network:
    """Deploy from the bank, with this data directory's wallet as guardian."""
    network_id = network_id_for_development(devnet.genesis_hash)
    guardian = ensure_development_wallet(home, network_id).address
    client: ChainClient = load_plug("chain", "evm")(devnet.url)
    try:
        contracts, deploy_block = deploy_network(client, BANK_KEY, guardian=guardian)
    finally:
        client.close()
    return Network(
        network=network_id,
        chain_id=devnet.chain_id,
        rpc=(devnet.url,),
        genesis_hash=devnet.genesis_hash,
        deploy_block=deploy_block,
        contracts=contracts,
        bootstrap=(),
        token=TOKEN,
    )
