"""A development network costs nothing: throwaway accounts get money from its bank, and the node bonds itself."""

import time

from openledger_protocol.primitives import ZERO_WEI, Wei

from ..chain.faucet import fund
from ..settlement.actions import Action, AddStake, AppointSigner
from .economy import Economy

DEVELOPMENT_COINS_WEI = Wei(10 * 10**18)
DEVELOPMENT_SIGNER_COINS_WEI = Wei(10**18)
DEVELOPMENT_SPARE_WEI = Wei(100 * 10**18)
"""OPEN that a throwaway wallet gets beyond the minimum stake."""


def prepare_development(economy: Economy, *, is_bonding: bool = True) -> list[str]:
    """On a development network: give the throwaway accounts money, bond, appoint the signer; say what was done.

    Raises:
        ChainError: the chain does not answer.
    """
    done = []
    wallet, signer = economy.accounts.wallet, economy.accounts.signer
    min_stake = economy.params().min_stake_wei
    stake = economy.deployment.stake(wallet)
    if economy.deployment.coin_balance(signer) == ZERO_WEI:
        fund(economy.client, economy.network, signer, coin_wei=DEVELOPMENT_SIGNER_COINS_WEI, open_wei=0)
    if stake.bonded_wei == 0 and economy.deployment.token_balance(wallet) < min_stake:
        fund(
            economy.client,
            economy.network,
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
    if not economy.deployment.is_signer(wallet, signer):
        actions.append(AppointSigner(signer=signer))
    if actions and not _is_under_way(economy):
        sign = economy.ring.signer(wallet)
        steps = economy.treasury.plan(actions, wallet, sign, key=f"start:{time.time_ns()}")
        economy.send(steps)
        done += [step.intent.summary for step in steps]
    return done


def _is_under_way(economy: Economy) -> bool:
    """Whether an earlier start has begun to bond, and its transactions are on their way."""
    return any(found.intent.key.startswith("start:") for found in economy.ledger.outbox.unfinished())
