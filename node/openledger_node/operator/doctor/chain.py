"""Checks of network file, keys, ledger and chain."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps

from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.epoch import epoch_at
from openledger_protocol.primitives import Address, Wei

from ...chain.identity import genesis_hash
from ...errors import ChainError, NodeError
from ...keystore import HOT_NAMES, PASSWORD_FILE, SIGNER, WALLET, account_file, check_is_private, find_account
from ...ledger.store import open_store
from ...network_file import is_embedded
from ...settlement.coin_price import coin_price_wei, price_warning
from .finding import Verdict, unknown
from .scene import Scene

CLOCK_AHEAD_MAX_S, HEAD_AGE_MAX_S = 30.0, 180.0
"""Limits for the newest block's time: not in the future, and chains make a block every few seconds."""

GAS_CLAIMS = 3
CLAIM_GAS = 2_000_000


def network(scene: Scene) -> Verdict:
    """The chosen network is known, and its file is valid."""
    found = scene.network
    if found:
        return Verdict(f"{found.network}, chain {found.chain_id}")
    choice = scene.config.node.network
    if choice == LOCAL_NETWORK:
        return Verdict("none, because [node] network is local: no money moves")
    if is_embedded(scene.home, choice):
        return Verdict("a development chain, which the first start creates")
    return Verdict("no network joined", "run `openledger-node network join FILE`")


def keystore(scene: Scene) -> Verdict:
    """The accounts of the network are present and readable."""
    found = scene.network
    if found is None:
        return unknown("no network yet")
    folder = scene.home.network_keys(found.network)
    names = [name for name in (WALLET, *HOT_NAMES) if account_file(folder, name).exists()]
    for name in names:
        find_account(folder, name)
        check_is_private(account_file(folder, name))
    if WALLET not in names and not found.is_development:
        return Verdict(f"no wallet in {folder}", "run `openledger-node wallet create`")
    return Verdict(", ".join(names) if names else "created at the first start")


def password(scene: Scene) -> Verdict:
    """The password of the hot keys is present and private."""
    found = scene.network
    if found is None:
        return unknown("no network yet")
    folder = scene.home.network_keys(found.network)
    file = folder / PASSWORD_FILE
    if not file.exists():
        if any(account_file(folder, name).exists() for name in HOT_NAMES):
            fix = (
                f"restore {file} from a backup, or move the key files beside it away: the next start creates new ones"
            )
            return Verdict("missing, and it is needed to unlock the keys", fix)
        return Verdict("created at the first start")
    check_is_private(file)
    cold = "" if found.is_development else "; the wallet has its own, which commands ask for"
    return Verdict(f"{file}{cold}")


def ledger(scene: Scene) -> Verdict:
    """The ledger opens, its pages are intact, and the newest requests of named keys add up to their sums.

    It adds up whole days until `SUMMED_ROWS_MAX` requests, since a ledger may have millions.
    """
    found = scene.network
    file = scene.home.ledger(found.network if found else LOCAL_NETWORK)
    if not file.exists():
        return Verdict("created at the first start")
    open_store(file, is_writer=False).close()
    return Verdict(f"{file}, {file.stat().st_size / 1e6:.1f} MB")


def _on_chain(look: Callable[[Scene], Verdict]) -> Callable[[Scene], Verdict]:
    """Skip a check while no chain answers, which `reachable` reports."""

    @wraps(look)
    def looked(scene: Scene) -> Verdict:
        if scene.network is None:
            return unknown("no network yet")
        if scene.has_own_chain and scene.status is None:
            return unknown("the development chain runs only while the daemon runs")
        try:
            _ = scene.client
        except ChainError:
            return unknown("the chain does not answer")
        return look(scene)

    return looked


def reachable(scene: Scene) -> Verdict:
    """An endpoint of the chain answers."""
    if scene.network is None:
        return unknown("no network yet")
    if scene.has_own_chain and scene.status is None:
        return unknown("the development chain runs only while the daemon runs")
    try:
        head = scene.client.head()
    except ChainError as error:
        fix = "set [chain] rpc in node.toml to an endpoint that answers, or wait until this one does"
        if scene.has_own_chain:
            fix = "the node's log says why; `openledger-node stop`, then `openledger-node start` restarts it"
        return Verdict(str(error), fix)
    return Verdict(f"block {head.number}")


@_on_chain
def identity(scene: Scene) -> Verdict:
    """The endpoint serves the network's own chain."""
    found, client = scene.network, scene.client
    assert found is not None, "checked by _on_chain"
    fix = "set [chain] rpc to an endpoint of this network, or join the other one: `openledger-node network join FILE`"
    if (chain_id := client.chain_id()) != found.chain_id:
        return Verdict(f"the endpoint is on chain {chain_id}, but {found.network} is on {found.chain_id}", fix)
    if (first := genesis_hash(client)) != found.genesis_hash:
        return Verdict(
            f"the first block is {first[:18]}…, but that of {found.network} is {found.genesis_hash[:18]}…", fix
        )
    return Verdict(f"chain {chain_id}, with the right first block")


@_on_chain
def contracts(scene: Scene) -> Verdict:
    """The network's contracts exist and answer."""
    found, client = scene.network, scene.client
    assert found is not None, "checked by _on_chain"
    missing = [name for name, address in found.contracts.items() if not client.code(address)]
    if missing:
        fix = f"ask the source of {scene.home.network_file(found.network)} for the right file"
        return Verdict(f"no code where {', '.join(missing)} should be", fix)
    epoch_s = scene.deployment().windows().epoch_s
    return Verdict(f"{len(found.contracts)} found; an epoch is {epoch_s} s")


@_on_chain
def clock(scene: Scene) -> Verdict:
    """This machine's clock agrees with the chain's."""
    ahead = scene.client.head().timestamp_s - time.time()
    if ahead > CLOCK_AHEAD_MAX_S and scene.has_own_chain:
        return Verdict(
            f"the newest block is {ahead:.0f} s in this clock's future",
            "if the clock is right now, it was ahead before, and the node's own chain keeps that time. Nothing is "
            f"lost. For a fresh chain, stop the node and move {scene.home.devnet} away",
            is_passing=True,
        )
    if ahead > CLOCK_AHEAD_MAX_S:
        return Verdict(
            f"the newest block is {ahead:.0f} s in this clock's future", "set the clock: `timedatectl set-ntp true`"
        )
    if -ahead > HEAD_AGE_MAX_S:
        fix = "set the clock: `timedatectl set-ntp true`; if it is right, the endpoint lags: set another [chain] rpc"
        return Verdict(f"the newest block is {-ahead:.0f} s old", fix)
    return Verdict(f"the newest block is {max(0.0, -ahead):.0f} s old")


@_on_chain
def gas(scene: Scene) -> Verdict:
    """The signer can pay for claims."""
    if not scene.config.node.serve:
        return unknown("a node that does not serve claims nothing")
    signer = _address(scene, SIGNER)
    if signer is None:
        return unknown("no signer before the first start")
    client = scene.client
    fees = client.fees()
    needed = Wei(GAS_CLAIMS * CLAIM_GAS * (fees.base_wei + fees.tip_wei))
    has = client.coin_balance(signer)
    fix = f"send {(needed - has) / 1e18:.6f} coins to the signer {signer}" if has < needed else ""
    return Verdict(f"{has / 1e18:.6f} coins; {GAS_CLAIMS} claims cost about {needed / 1e18:.6f}", fix)


def coin_price(scene: Scene) -> Verdict:
    """The price by which claims compare gas with their worth is a recent one."""
    found = scene.network
    if found is None or found.coin_price is None:
        return unknown("gas costs nothing without a network for real money")
    today, settings = datetime.now(UTC).date(), scene.config.settlement
    price_wei = coin_price_wei(found, settings)
    assert price_wei, "a network for real money has one"
    source = "node.toml" if settings.coin_price_wei else f"network.json, of {found.coin_price.on}"
    fix = "set [settlement] coin_price_wei to today's price" if price_warning(found, settings, today) else ""
    return Verdict(f"{price_wei / 1e18:g} {found.token.symbol} for a coin, by {source}", fix, is_passing=True)


@_on_chain
def stake(scene: Scene) -> Verdict:
    """The bond is large enough for claims."""
    if not scene.config.node.serve:
        return unknown("a node that does not serve needs no bond")
    wallet = _address(scene, WALLET)
    if wallet is None:
        return unknown("no wallet yet")
    deployment = scene.deployment()
    least = deployment.params(epoch_at(scene.client.head().timestamp_s, deployment.windows())).min_stake_wei
    bonded = deployment.stake(wallet).bonded_wei
    found = f"{bonded / 1e18:g} OPEN bonded, {least / 1e18:g} OPEN needed"
    return Verdict(found, "" if bonded >= least else f"run `openledger-node stake add {(least - bonded) / 1e18:g}`")


def claims(scene: Scene) -> Verdict:
    """Receipts can be claimed."""
    status = scene.status
    if status is None:
        return unknown("the daemon is not running")
    money = status["money"]
    if why := money["why_down"]:
        return Verdict(why, "run `openledger-node doctor --only chain`")
    return Verdict(money["why_not_claimed"] or "all due receipts are claimed")


def _address(scene: Scene, name: str) -> Address | None:
    found = scene.network
    assert found is not None, "checked by _on_chain"
    try:
        return find_account(scene.home.network_keys(found.network), name).address
    except NodeError:
        return None
