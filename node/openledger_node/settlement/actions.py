"""Actions of operators, payers and owners on the chain; each is one transaction, with a permit where it pays in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openledger_protocol.chain import ContractCall
from openledger_protocol.payments import ChannelConfig, Permit, permit_digest
from openledger_protocol.primitives import Address, ChannelId, DatanetId, Digest, Wei
from openledger_protocol.registry import RegistryEntry
from openledger_protocol.rules import USUAL_RULES
from openledger_protocol.settlement import signer_consent_digest
from openledger_protocol.transactions import Intent
from openledger_protocol.withdrawal import RowWithdrawal

from ..chain.deployment import Deployment
from ..chain.refusals import open_text
from ..chain.token import Allowance
from ..network_file import WRAPPED_VOTES
from ..text import counted
from .adapter_actions import AdapterAction, ReclaimBond, RetireAdapter, adapter_call, returned_wei
from .vote_actions import UnwrapVotes, VoteAction, WrapVotes, vote_call

PERMIT_S = 3600
"""Lifetime of a permit or consent after the latest block; a stuck transaction must not outlive it."""

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveSpending:
    """Let a contract take OPEN later; this replaces a permit where no key is at hand to sign one."""

    contract: str
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class AddStake:
    """Add to the node's bond."""

    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class AppointSigner:
    """Appoint a hot key to sign for the node."""

    signer: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPayout:
    """Have the balance of rewards paid to an address."""

    payout: Address
    only_self: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveStake:
    """Start to unbond stake."""

    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawStake:
    """Withdraw stake whose unbonding time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawRewards:
    """Pay what is credited to accounts to where each of them wants it."""

    accounts: tuple[Address, ...]
    amount_wei: Wei  # that is credited to them now


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChannel:
    """Open a channel with a first deposit."""

    config: ChannelConfig
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp:
    """Add to a channel's deposit."""

    config: ChannelConfig
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseChannel:
    """Start to withdraw a channel's remaining deposit."""

    channel_id: ChannelId
    config: ChannelConfig
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawChannel:
    """Finish a channel's withdrawal once its delay is over."""

    channel_id: ChannelId
    config: ChannelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDatanet:
    """Register a Datanet under its owner's account and a name."""

    name: str
    treasury: Address
    owner_ppm: int
    licence: str
    rules: tuple[int, ...] = USUAL_RULES  # attribution rules that it allows
    metadata: str | None = None  # description and policy; None: none


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeDatanet:
    """Change the description and the policy of a Datanet."""

    datanet_id: DatanetId
    name: str
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCurators:
    """Name the curators who approve a Datanet's versions."""

    datanet_id: DatanetId
    name: str
    curators: tuple[Address, ...]  # ascending
    need: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishDatanet:
    """Publish a version of a Datanet."""

    datanet_id: DatanetId
    rows_root: Digest
    contributors_root: Digest
    approvals: tuple[bytes, ...] = ()  # signatures of curators, ascending by curator


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawRows:
    """Withdraw rows of one account from a Datanet."""

    withdrawal: RowWithdrawal
    signature: bytes = b""  # of the account; none if the account or the Datanet's owner sends it


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRows:
    """Prove the time of rows that nobody has seen yet."""

    commitment: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterAdapter:
    """Register an adapter and put up its bond."""

    manifest_id: Digest
    entry: RegistryEntry
    royalty_ppm: int
    bond_wei: Wei


Action = (
    ApproveSpending
    | AddStake
    | AppointSigner
    | SetPayout
    | RemoveStake
    | WithdrawStake
    | WithdrawRewards
    | OpenChannel
    | TopUp
    | CloseChannel
    | WithdrawChannel
    | CreateDatanet
    | DescribeDatanet
    | SetCurators
    | PublishDatanet
    | WithdrawRows
    | CommitRows
    | RegisterAdapter
    | AdapterAction
    | VoteAction
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The acting account, its signature, that of the node's hot key, and the chain's time."""

    account: Address
    sign: Sign
    sign_as_signer: Sign
    now_s: int


def intent_of(action: Action, actor: Actor, deployment: Deployment, *, key: str) -> Intent:
    """Convert an action into the intent of its transaction; the outbox sends each `key` once."""
    kind, summary, call = _call_of(action, actor, deployment)
    return Intent(key=key, kind=kind, summary=summary, sender=actor.account, call=call)


def _call_of(action: Action, actor: Actor, deployment: Deployment) -> tuple[str, str, ContractCall]:
    if isinstance(action, VoteAction):
        return vote_call(action, actor.account, deployment)
    match action:
        case ApproveSpending(contract=contract, amount_wei=amount):
            return "approve", f"let {contract} take {open_text(amount)}", deployment.approve(contract, amount)
        case AddStake(amount_wei=amount):
            allowance = _permit(actor, deployment, action)
            return "stake", f"bond {open_text(amount)}", deployment.bond(amount, allowance)
        case AppointSigner(signer=signer):
            deadline_s = actor.now_s + PERMIT_S
            consent = actor.sign_as_signer(signer_consent_digest(actor.account, deadline_s, deployment.staking))
            call = deployment.set_signer(signer, deadline_s, consent)
            return "signer", f"appoint {signer} to sign for the node", call
        case SetPayout(payout=payout, only_self=only_self):
            return "payout", f"have earnings paid to {payout}", deployment.set_payout(payout, only_self)
        case RemoveStake(amount_wei=amount):
            return "unstake", f"begin to unbond {open_text(amount)}", deployment.unbond(amount)
        case WithdrawStake():
            return "stake withdraw", "take out unbonded stake", deployment.withdraw_stake()
        case WithdrawRewards(accounts=accounts, amount_wei=amount):
            summary = f"pay out {open_text(amount)} of {counted(len(accounts), 'account')}"
            return "withdraw", summary, deployment.withdraw_rewards(accounts)
        case _:
            return _owner_call(action, actor, deployment)


def _owner_call(action: Action, actor: Actor, deployment: Deployment) -> tuple[str, str, ContractCall]:
    match action:
        case CreateDatanet(name=name):
            terms = (action.treasury, action.owner_ppm, action.licence, action.rules, action.metadata)
            return "datanet", f"register Datanet {name}", deployment.create_datanet(name, *terms)
        case DescribeDatanet(name=name):
            call = deployment.describe_datanet(action.datanet_id, action.metadata)
            return "datanet description", f"describe Datanet {name}", call
        case SetCurators(name=name):
            call = deployment.set_curators(action.datanet_id, action.curators, action.need)
            return "datanet curators", _curators_summary(action), call
        case PublishDatanet(datanet_id=datanet_id):
            call = deployment.publish_datanet(
                datanet_id, action.rows_root, action.contributors_root, action.approvals
            )
            return "datanet version", f"publish a version of Datanet {datanet_id[:10]}…", call
        case WithdrawRows(withdrawal=withdrawal):
            summary = f"withdraw {counted(len(withdrawal.rows), 'row')} of Datanet {withdrawal.datanet_id[:10]}…"
            return "datanet withdrawal", summary, deployment.withdraw_rows(withdrawal, action.signature)
        case CommitRows(commitment=commitment):
            return "commitment", "prove since when you have the rows", deployment.commit_rows(commitment)
        case RegisterAdapter():
            call = deployment.register_adapter(
                action.manifest_id,
                action.entry,
                royalty_ppm=action.royalty_ppm,
                allowance=_permit(actor, deployment, action),
            )
            return "adapter", f"register an adapter under a bond of {open_text(action.bond_wei)}", call
        case _:
            return _channel_call(action, actor, deployment)


def _curators_summary(action: SetCurators) -> str:
    if not action.curators:
        return f"let the owner of Datanet {action.name} publish versions alone"
    return f"require {action.need} of {counted(len(action.curators), 'curator')} for versions of {action.name}"


def _channel_call(action: Action, actor: Actor, deployment: Deployment) -> tuple[str, str, ContractCall]:
    match action:
        case OpenChannel(config=config, amount_wei=amount):
            allowance = _permit(actor, deployment, action)
            summary = f"open a channel with {config.node} and pay in {open_text(amount)}"
            return "open", summary, deployment.open_channel(config, amount, allowance)
        case TopUp(config=config, amount_wei=amount):
            allowance = _permit(actor, deployment, action)
            return "top up", f"pay {open_text(amount)} into a channel", deployment.top_up(config, amount, allowance)
        case CloseChannel(config=config, amount_wei=amount):
            summary = f"ask for {open_text(amount)} of channel {action.channel_id[:10]}…"
            return "close", summary, deployment.start_withdraw(config, amount)
        case WithdrawChannel(config=config):
            summary = f"take out what was asked for of channel {action.channel_id[:10]}…"
            return "channel withdraw", summary, deployment.finish_withdraw(config)
        case RetireAdapter() | ReclaimBond():
            return adapter_call(action, deployment)
        case _:
            raise AssertionError(f"no call is known for {action}")


def payment_of(action: Action) -> tuple[str, Wei] | None:
    """The contract that an action pays OPEN to, and the amount; None for an action that pays nothing."""
    match action:
        case AddStake(amount_wei=amount):
            return "NodeStaking", amount
        case OpenChannel(amount_wei=amount) | TopUp(amount_wei=amount):
            return "PaymentChannels", amount
        case RegisterAdapter(bond_wei=bond):
            return "ModelRegistry", bond
        case WrapVotes(amount_wei=amount):
            return WRAPPED_VOTES, amount
        case _:
            return None


def _permit(actor: Actor, deployment: Deployment, action: Action) -> Allowance | None:
    """Sign an allowance, so that paying in takes one transaction instead of two; None without a key or permits."""
    payment = payment_of(action)
    if payment is None or deployment.permits is None:
        return None
    contract, amount_wei = payment
    permit = Permit(
        owner=actor.account,
        spender=deployment.addresses[contract],
        value_wei=amount_wei,
        nonce=deployment.permit_nonce(actor.account),
        deadline_s=actor.now_s + PERMIT_S,
    )
    return Allowance(deadline_s=permit.deadline_s, signature=actor.sign(permit_digest(permit, deployment.permits)))


def change_wei(actions: Sequence[Action], account: Address) -> int | None:
    """The change in an account's OPEN; None where only the chain will know the amount."""
    changes = [_change_wei(action, account) for action in actions]
    known = [change for change in changes if change is not None]
    return sum(known) if len(known) == len(changes) else None


def _change_wei(action: Action, account: Address) -> int | None:
    if payment := payment_of(action):
        return -payment[1]
    match action:
        case WithdrawRewards() | WithdrawStake() | WithdrawChannel():
            return None
        case RetireAdapter() | ReclaimBond():
            return returned_wei(action)
        case UnwrapVotes(amount_wei=amount):
            return amount
        case _:
            return 0
