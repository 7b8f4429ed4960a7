"""A node's settlement in bad times.

By a seed its endpoint lies, blocks are taken back or stop, a payer leaves, and the node is killed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from node.settlement.bad_endpoint import DEEDS, BadEndpoint
from support.chain_world.world import OPEN, World, open_session, open_world
from support.contributors import ADA, BEN
from support.signed import digest

from openledger_node.chain.clients.simulated import GENESIS_S, SEED, SimulatedClient
from openledger_node.chain.dev.constants import DEVELOPMENT_WINDOWS
from openledger_node.chain.dev.embedded import open_chain
from openledger_node.chain.dev.mempool import Pool
from openledger_node.chain.rpc_client import RpcClient
from openledger_node.errors import ChainError
from openledger_node.settlement.actions import CloseChannel, WithdrawChannel
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.attribution import Share
from openledger_protocol.primitives import BASE_ONLY, AdapterId, ChannelId, Wei
from openledger_protocol.transactions import REORG_DEPTH_MAX

WINDOWS: Final = replace(DEVELOPMENT_WINDOWS, propose_s=400, redraw_blocks=256, unbonding_s=460)
"""As on a real chain, the bad times and the 64 blocks after which a missing nonce is mended fit into each of them."""

WITHDRAW_DELAY_S: Final = 400
DEEPEST: Final = REORG_DEPTH_MAX + 16
"""Blocks that a reorganisation takes back in a few worlds, more than an honest one does: there the node halts."""

STEPS: Final = range(20, 61)
STANDSTILL_S: Final = 2 * WINDOWS.propose_s
CALM_STEPS_MAX: Final = 500
IDLE_STEPS: Final = WINDOWS.epoch_s + 5
"""So long after the last claim nothing more may come: an interval between claims is over."""


class KilledError(BaseException):
    """The node's process ends here."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that goes wrong by one seed; each number is a step."""

    seed: int
    num_steps: int
    rates: Mapping[str, float]  # of the endpoint's deeds
    reorgs: Mapping[int, int]  # → blocks that are taken back
    losses: frozenset[int]  # the pool is emptied, so that a reorganisation drops what it took back
    standstill: int | None  # no block for longer than every deadline
    answers: tuple[int, ...]  # a receipt is earned
    leaving: int | None  # the payer of the first channel starts to withdraw
    lifetimes: tuple[int, ...]  # fail points that the node passes until it is killed

    @property
    def may_halt(self) -> bool:
        """True if the endpoint contradicts itself, or more is taken back than an honest chain does."""
        is_deep = any(depth > REORG_DEPTH_MAX for depth in self.reorgs.values())
        return is_deep or not {"hash", "number", "behind", "logs"}.isdisjoint(self.rates)

    @property
    def may_fail(self) -> bool:
        """True if transactions may be reverted after their gas was paid, or an endpoint may say so."""
        return bool(self.reorgs) or self.is_unusable or not {"gas", "status"}.isdisjoint(self.rates)

    @property
    def is_unusable(self) -> bool:
        """True if the chain made no block for longer than the node had to propose, or to show."""
        return self.standstill is not None


def plan_of(seed: int) -> Plan:
    """Draw a plan; half of the nodes are killed, and a sixth of the chains stand still."""
    random = Random(seed)
    num_steps = random.choice(STEPS)
    steps = range(num_steps)
    deeds = random.sample(sorted(DEEDS), random.randint(1, 4))
    deepest = DEEPEST if random.random() < 1 / 12 else REORG_DEPTH_MAX
    reorgs = {random.choice(steps): random.randint(1, deepest) for _ in range(random.choice([0, 1, 1, 2]))}
    return Plan(
        seed=seed,
        num_steps=num_steps,
        rates={name: random.choice([0.02, 0.1, 0.4]) for name in deeds},
        reorgs=reorgs,
        losses=frozenset(step for step in reorgs if random.random() < 0.5),
        standstill=random.choice(steps) if random.random() < 1 / 6 else None,
        answers=tuple(sorted(random.choices(steps, k=random.randint(3, 8)))),
        leaving=random.choice(steps) if random.random() < 0.3 else None,
        lifetimes=tuple(random.randint(1, 40) for _ in range(random.choice([0, 0, 1, 2, 4]))),
    )


@dataclass(kw_only=True)
class BadTimes:
    """A world whose node sees the chain through a bad endpoint."""

    plan: Plan
    world: World
    root: Path
    endpoint: BadEndpoint
    random: Random
    lanes: list[tuple[ChannelId, AdapterId, tuple[Share, ...]]] = field(default_factory=list)
    lifetimes: list[int] = field(default_factory=list)
    num_kills: int = 0
    num_rescans: int = 0
    num_forgiven: int = 0

    @property
    def chain(self) -> SimulatedClient:
        """The true chain."""
        return self.world.chain.client  # type: ignore[no-any-return]

    def prepare(self) -> None:
        """Open lanes of the base and of two adapters, and bury all of it deeper than a reorganisation goes."""
        world, datanet_id = self.world, self.world.create_datanet()
        adapters = [world.register(digest(name), datanet_id) for name in "ab"]
        accounts = sorted((ADA, BEN), key=str.lower)
        parts = zip(accounts, (400_000, 600_000), strict=True)
        shares = tuple(Share(datanet_id=datanet_id, account=account, ppm=ppm) for account, ppm in parts)
        for _ in range(2):
            channel = world.open_channel(withdraw_delay_s=WITHDRAW_DELAY_S)
            self.lanes += [(channel, BASE_ONLY, ()), *((channel, adapter, shares) for adapter in adapters)]
        self.earn()
        world.node.ledger.close()
        self.chain.mine(DEEPEST)
        self.lifetimes = list(self.plan.lifetimes)
        self.open_node()

    def live(self) -> None:
        """Go through the bad times."""
        self.endpoint.rates = self.plan.rates
        for step in range(self.plan.num_steps):
            for _ in range(self.plan.answers.count(step)):
                self.earn()
            self.step_node()
            self.step_payer(step)
            self.step_chain(step)
        self.endpoint.rates, self.lifetimes = {}, []

    def calm_down(self) -> None:
        """Settle over an honest chain, until nothing more comes."""
        num_idle = 0
        for _ in range(CALM_STEPS_MAX):
            self.step_node()
            self.help(self.world.payer)
            self.help(self.world.node)
            self.step_payer()
            self.chain.advance(1)
            node = self.world.node
            num_idle = num_idle + 1 if node.is_idle and node.state.health == "ok" else 0
            if num_idle == (IDLE_STEPS if node.ledger.receipts.unclaimed() else 3):
                return
        raise AssertionError("it is never over")

    # ---- the parts of a step

    def earn(self) -> None:
        """A receipt on some lane; the payer countersigns three of four."""
        channel, adapter_id, shares = self.random.choice(self.lanes)
        amount = self.random.randrange(OPEN // 100, OPEN // 2)
        is_countersigned = self.random.random() < 0.75
        self.world.earn(channel, amount, adapter_id=adapter_id, shares=shares, is_countersigned=is_countersigned)

    def step_node(self) -> None:
        """One step of the daemon; a node that is killed comes back."""
        try:
            with suppress(ChainError):
                self.world.node.step()
        except KilledError:
            self.num_kills += 1
            self.world.node.ledger.close()
            self.open_node()

    def step_payer(self, step: int | None = None) -> None:
        """One step of the payer's daemon; a payer that leaves takes its deposit out as soon as it may."""
        payer = self.world.payer
        if self.plan.leaving is not None:
            channel = self.lanes[0][0]
            config = self.world.configs[channel]
            pending = payer.deployment.withdrawal(channel)
            if step == self.plan.leaving:
                leave = CloseChannel(channel_id=channel, config=config, amount_wei=Wei(10 * OPEN))
                self.world.act(leave, by=payer)
            elif pending.amount_wei and pending.ready_at_s <= self.world.now_s and payer.is_idle:
                self.world.act(WithdrawChannel(channel_id=channel, config=config), by=payer)
        payer.step()

    def step_chain(self, step: int) -> None:
        now_s = self.world.now_s
        if depth := self.plan.reorgs.get(step):
            self.chain.reorganise(depth)
            if step in self.plan.losses:
                self.chain._chain._pool = Pool(self.chain.chain_id())
        passed_s = now_s - self.world.now_s  # the other branch was mined in the same time
        self.chain.advance(passed_s + (STANDSTILL_S if step == self.plan.standstill else 1))

    def help(self, side: NetworkSession) -> None:
        """Do what an operator is told to do: rescan after a halt, forgive what failed."""
        if side.state.health == "halted" or any("network rescan" in alert for alert in side.alerts):
            self.num_rescans += 1
            side.rescan()
        for kind in side.ledger.outbox.kinds():
            if any(f"network forgive '{kind}'" in alert for alert in side.alerts):
                self.num_forgiven += 1
                side.forgive(kind)

    def open_node(self) -> None:
        """Start the node over its ledger; the daemon waits until an endpoint answers it truly."""
        client = RpcClient(self.endpoint, chain_id=self.chain.chain_id())
        rates, self.endpoint.rates = self.endpoint.rates, {}
        network = self.world.chain.network
        self.world.node = open_session(self.root, client, network, "node", fail_point=self.pass_point)
        self.endpoint.rates = rates

    def pass_point(self, _: str) -> None:
        if self.lifetimes:
            self.lifetimes[0] -= 1
            if self.lifetimes[0] == 0:
                del self.lifetimes[0]
                raise KilledError


@contextmanager
def bad_times(root: Path, plan: Plan) -> Iterator[BadTimes]:
    """A prepared world for a plan."""
    random = Random(f"{plan.seed} events")
    client: Any = SimulatedClient(open_chain(None, GENESIS_S, seed=SEED))
    with open_world(root, client, windows=WINDOWS) as world:
        endpoint = BadEndpoint(client._methods.answer, random)
        times = BadTimes(plan=plan, world=world, root=root, endpoint=endpoint, random=random)
        times.prepare()
        yield times
        client.close()
