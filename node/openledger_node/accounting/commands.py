"""The actions of each command that moves money, from its arguments and what this node knows."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from openledger_protocol.generation import SALT_HALF_BYTES, channel_salt
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import (
    Address,
    ChannelId,
    Generation,
    Wei,
    check_address,
    check_digest,
    wei_from_text,
)

from ..errors import NodeError
from ..settlement.actions import (
    Action,
    AddStake,
    AppointSigner,
    CloseChannel,
    OpenChannel,
    RemoveStake,
    SetPayout,
    TopUp,
    WithdrawChannel,
    WithdrawRewards,
    WithdrawStake,
)
from ..settlement.deposits import usual_delay_s
from ..settlement.session import NetworkSession

Arguments = Mapping[str, Any]

GenerationOf = Callable[[Address], Generation | None]
"""The generation of a wallet's ledger, as its node advertises it; None if no such node is heard."""


class CommandActions:
    """Turns commands into actions, over one session."""

    def __init__(self, session: NetworkSession, generation_of: GenerationOf) -> None:
        self._session = session
        self._generation_of = generation_of

    def find(self, command: str, account: Address, arguments: Arguments) -> list[Action]:
        """The actions of one of `ACTION_COMMANDS`, which `account` would take.

        Raises:
            NodeError: the command has nothing to do.
        """
        return _COMMANDS[command](self, account, arguments)

    def _add_stake(self, account: Address, arguments: Arguments) -> list[Action]:
        actions: list[Action] = [AddStake(amount_wei=wei_from_text(arguments["amount_wei"]))]
        signer = self._session.accounts.signer
        if not self._session.deployment.is_signer(account, signer):
            actions.append(AppointSigner(signer=signer))
        return actions

    def _remove_stake(self, _: Address, arguments: Arguments) -> list[Action]:
        return [RemoveStake(amount_wei=wei_from_text(arguments["amount_wei"]))]

    def _withdraw_stake(self, _account: Address, _: Arguments) -> list[Action]:
        return [WithdrawStake()]

    def _withdraw_rewards(self, account: Address, arguments: Arguments) -> list[Action]:
        """Withdraw what claims have credited."""
        deployment = self._session.deployment
        accounts = tuple(check_address(each) for each in arguments.get("accounts") or [account])
        amount = Wei(sum(deployment.rewards_balance(each) for each in accounts))
        if not amount:
            raise NodeError("there is nothing to withdraw: `openledger-node rewards show` lists earnings under way")
        return [WithdrawRewards(accounts=accounts, amount_wei=amount)]

    def _set_payout(self, _: Address, arguments: Arguments) -> list[Action]:
        return [SetPayout(payout=check_address(arguments["payout"]), only_self=bool(arguments.get("only_self")))]

    def _open_channel(self, account: Address, arguments: Arguments) -> list[Action]:
        node = check_address(arguments["node"])
        generation = self._generation(node, arguments.get("generation"))
        delay_s = arguments.get("withdraw_delay_s") or usual_delay_s(self._session)
        config = ChannelConfig(
            payer=account,
            authorizer=self._session.accounts.authorizer,
            node=node,
            withdraw_delay_s=delay_s,
            salt=channel_salt(self._session.network.network, generation, secrets.token_bytes(SALT_HALF_BYTES)),
        )
        return [OpenChannel(config=config, amount_wei=wei_from_text(arguments["amount_wei"]))]

    def _generation(self, node: Address, chosen: str | None) -> Generation:
        """The generation of a node's ledger, which its channels must name: as chosen, or as advertised."""
        if chosen:
            return Generation(check_digest(chosen))
        if node == self._session.accounts.wallet:
            return self._session.ledger.generations.current.generation
        if found := self._generation_of(node):
            return found
        raise NodeError(
            f"no node with wallet {node} is heard just now, and a channel must name the generation of its ledger: "
            "start this node and wait until `openledger-node peers list` shows the other, or give --generation"
        )

    def _top_up(self, _account: Address, arguments: Arguments) -> list[Action]:
        _, config = self._channel(arguments)
        return [TopUp(config=config, amount_wei=wei_from_text(arguments["amount_wei"]))]

    def _close_channel(self, _: Address, arguments: Arguments) -> list[Action]:
        key, config = self._channel(arguments)
        balance = self._session.deployment.channel(key)
        left = Wei(balance.deposit_wei - balance.claimed_wei)
        return [CloseChannel(channel_id=key, config=config, amount_wei=left)]

    def _withdraw_channel(self, _: Address, arguments: Arguments) -> list[Action]:
        key, config = self._channel(arguments)
        return [WithdrawChannel(channel_id=key, config=config)]

    def _channel(self, arguments: Arguments) -> tuple[ChannelId, ChannelConfig]:
        """Find a channel of ours by the beginning of its id."""
        beginning = str(arguments["channel_id"])
        found = [row for row in self._session.ledger.channels.all() if row.channel_id.startswith(beginning)]
        if len(found) != 1:
            raise NodeError(
                f"{len(found)} channels begin with {beginning!r}: `openledger-node channels list` shows them"
            )
        return ChannelId(check_digest(found[0].channel_id)), found[0].config


_COMMANDS: dict[str, Callable[[CommandActions, Address, Arguments], list[Action]]] = {
    "stake add": CommandActions._add_stake,
    "stake remove": CommandActions._remove_stake,
    "stake withdraw": CommandActions._withdraw_stake,
    "rewards payout": CommandActions._set_payout,
    "rewards withdraw": CommandActions._withdraw_rewards,
    "channels open": CommandActions._open_channel,
    "channels top-up": CommandActions._top_up,
    "channels close": CommandActions._close_channel,
    "channels withdraw": CommandActions._withdraw_channel,
}

ACTION_COMMANDS: Final = tuple(_COMMANDS)
"""The commands that only move money; `publishing.PUBLISHERS` are those that also publish."""
