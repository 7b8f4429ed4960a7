"""Kills under load: sellers, the relay, both bootstrap nodes and the chain of a network of real daemons.

Payers stream answers without a pause while parts of the network are killed at moments drawn from `--seed`, and are
started again later. Each call must be served whole or fail with an error that says to try again. Streams of killed
sellers must go on at others. After all of it nobody may be paid twice, and ledgers, vouchers and chain must agree to
the wei.

`--json` prints one object on the last line; `--quick` is a short form whose figures mean nothing. The exit status is
1 if a bar is missed.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bars import Bar, bar, environment, show_bars
from chaos_load import Asked, Ending, Load, whole_answers
from chaos_money import Books, call_in_turn, check_books, wait_until_final
from chaos_world import Sizes, World, open_world, paths_of, rest, since

from openledger_node.demo.processes import OperatorHome
from openledger_node.demo.scratch import scratch_folder

SCHEMA: Final = "openledger.bench_chaos/1"
SEED: Final = 1
JOBS_LOOKED_AT: Final = 20
BUSY_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is killed, and how long each stage takes. Times are seconds."""

    sizes: Sizes
    kills: int  # of sellers
    streams: int  # at each payer
    calm_s: float = 20.0  # load without a kill, for comparison
    kills_s: float = 60.0  # in which the sellers are killed, and the same again until they are back
    away_s: float = 30.0  # that the relay, or both bootstrap nodes, are away
    chain_away_s: float = 600.0
    after_s: float = 10.0  # load after what was killed is back


WHOLE: Final = Plan(sizes=Sizes(sellers=20, payers=2, claim_interval_s=30.0), kills=6, streams=2)
QUICK: Final = Plan(
    sizes=Sizes(sellers=6, payers=1, claim_interval_s=2.0),
    kills=2,
    streams=3,
    calm_s=3.0,
    kills_s=4.0,
    away_s=4.0,
    chain_away_s=20.0,
    after_s=3.0,
)


@dataclass(kw_only=True)
class Chaos:
    """The stages, one after the other."""

    world: World
    plan: Plan
    load: Load
    random: random.Random
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self) -> None:
        """Run all stages."""
        for stage in (self.stay_calm, self.kill_sellers, self.kill_bootstraps, self.kill_relay, self.kill_chain):
            stage()
            name, found = list(self.stages.items())[-1]
            print(f"{name}: {told(found)}", flush=True)

    def stay_calm(self) -> None:
        """Kill nothing."""
        with self.stage("calm"):
            rest(self.plan.calm_s)

    def kill_sellers(self) -> None:
        """Kill sellers in the middle of answers, and start them again while the others serve."""
        running: set[str] = set()
        killed: list[OperatorHome] = []
        with self.stage("sellers") as (found, asked):
            for at_s in sorted(self.random.uniform(0, self.plan.kills_s) for _ in range(self.plan.kills)):
                rest(max(0.0, at_s - since(found["began_s"])))
                victim = self.victim(killed)
                running |= self.kill_seller(victim)
                killed.append(victim)
            rest(self.plan.after_s)
            began_s = time.monotonic()
            for victim in killed:
                self.world.start_node(victim)
            self.world.wait_until_known(killed)
            found["back_s"] = since(began_s)
            rest(self.plan.after_s)
        found |= {"killed": [victim.name for victim in killed], **resumed(asked, running, self.load)}

    def victim(self, killed: Sequence[OperatorHome]) -> OperatorHome:
        """A seller that answers now, drawn; any, if none is seen to answer in time."""
        left = [seller for seller in self.world.sellers if seller not in killed]
        self.random.shuffle(left)
        until_s = time.monotonic() + BUSY_TIMEOUT_S
        while time.monotonic() < until_s:
            for seller in left:
                if self.running_at(seller):
                    return seller
            rest(POLL_S)
        return left[0]

    def kill_seller(self, victim: OperatorHome) -> set[str]:
        """Kill a seller, and return the ids of the requests that it was answering."""
        self.world.kill_node(victim)
        return self.running_at(victim)

    def running_at(self, seller: OperatorHome) -> set[str]:
        """The ids of the requests that a seller answers, or did when it was killed."""
        with self.world.ledger(seller) as ledger:
            return {job.request_id for job in ledger.jobs.newest(limit=JOBS_LOOKED_AT, state="running")}

    def kill_bootstraps(self) -> None:
        """Kill both bootstrap nodes, which relay for some sellers, so that those need the other relay."""
        self.kill("bootstraps", self.world.kill_bootstraps, self.world.start_bootstraps_again, self.plan.away_s)

    def kill_relay(self) -> None:
        """Kill the relay."""
        relay = self.world.relay
        self.kill(
            "relay", lambda: self.world.kill_node(relay), lambda: self.world.start_node(relay), self.plan.away_s
        )

    def kill_chain(self) -> None:
        """Kill the chain for long."""
        self.kill("chain", self.world.kill_chain, self.world.start_chain_again, self.plan.chain_away_s)

    def kill(self, name: str, kill: Callable[[], None], start: Callable[[], None], away_s: float) -> None:
        """Kill something under load, start it again, and ask on."""
        with self.stage(name) as (found, asked):
            rest(self.random.uniform(1.0, 3.0))
            kill()
            num_before = len(asked)
            rest(away_s)
            began_s, num_away = time.monotonic(), len(asked)
            start()
            found["back_s"], num_back = since(began_s), len(asked)
            rest(self.plan.after_s)
        found["served_away"] = self.num_served(asked[num_before:num_away])
        found["served_after"] = self.num_served(asked[num_back:])

    @contextmanager
    def stage(self, name: str) -> Iterator[tuple[dict[str, Any], list[Asked]]]:
        """A part of the run under load, and its figures."""
        found: dict[str, Any] = {"began_s": time.monotonic(), "load": os.getloadavg()[0]}
        found["paths"] = self.paths()
        with self.load.running() as asked:
            yield found, asked
        found |= {**self.load.figures(asked), "took_s": since(found.pop("began_s"))}
        self.stages[name] = found

    def num_served(self, asked: Sequence[Asked]) -> int:
        """The number of calls that were served whole."""
        return sum(call.ending(self.load.wholes[call.question]) is Ending.SERVED for call in asked)

    def paths(self) -> dict[str, int]:
        """The first payer's connections with sellers by kind."""
        wallets = {self.world.wallets[seller.name] for seller in self.world.sellers}
        return paths_of(self.world.payers[0], wallets)


def resumed(asked: Sequence[Asked], running: set[str], load: Load) -> dict[str, int]:
    """The number of streams that killed sellers broke off, and of those that were served whole all the same.

    A call without text that may be repeated was not broken off: nothing of it has reached its reader.
    """
    endings = [(call, call.ending(load.wholes[call.question])) for call in asked if call.request_id in running]
    broken = [ending for call, ending in endings if call.text or ending is not Ending.RETRYABLE]
    return {"broken": len(broken), "resumed": broken.count(Ending.SERVED)}


def told(found: dict[str, Any]) -> str:
    """A stage as a line of text."""
    said = [f"{found['asked']} asked, {found['served']} served, {found['retryable']} retryable, {found['lost']} lost"]
    said += [f"first text p95 {found['first_text_p95_s']} s", f"longest silence {found['silence_max_s']} s"]
    if "broken" in found:
        said.append(f"{found['resumed']} of {found['broken']} streams of killed sellers went on")
    if "served_away" in found:
        said.append(f"{found['served_away']} of those asked meanwhile were served")
    if "back_s" in found:
        said.append(f"all back after {found['back_s']} s")
    return "; ".join([*said, f"{found['took_s']:.0f} s", *found["why_lost"], *found["why_retryable"]])


def measure(plan: Plan, seed: int) -> dict[str, Any]:
    """Run everything, and return the figures."""
    began_s = time.monotonic()
    with scratch_folder() as folder, open_world(Path(folder), plan.sizes) as world:
        print(f"{plan.sizes.sellers} sellers and {plan.sizes.payers} payers run after {since(began_s)} s", flush=True)
        load = Load(payers=world.payers, streams=plan.streams, seed=seed, wholes=whole_answers(world.sellers[0]))
        chaos = Chaos(world=world, plan=plan, load=load, random=random.Random(seed))
        chaos.run()
        turns = call_in_turn(world)
        print(
            f"{turns['answered']} of {turns['sellers']} sellers answered in turn {turns['failed'] or ''}", flush=True
        )
        money_s = time.monotonic()
        wait_until_final(world)
        books = check_books(world, load.all)
        print(f"claims were final after {since(money_s)} s more", flush=True)
        for fault in books.faults:
            print(f"wrong: {fault}", flush=True)
    return {"seed": seed, "stages": chaos.stages, "turns": turns, "money": shown(books), "took_s": since(began_s)}


def shown(books: Books) -> dict[str, Any]:
    """The books for JSON."""
    counts = {"receipts": books.num_receipts, "claims": books.num_claims, "claimed_wei": str(books.claimed_wei)}
    return {**counts, "faults": books.faults}


def bars_of(runs: dict[str, Any]) -> Iterator[Bar]:
    """The bars."""
    for name, found in runs["stages"].items():
        why = f"{found['served']} served, {found['retryable']} retryable of {found['asked']}"
        yield bar(f"{name}_lost", found["lost"], "calls", 0, better="lower", why=why)
        if "broken" in found:
            yield bar(f"{name}_resumed", found["resumed"], f"of {found['broken']}", found["broken"])
        if "served_after" in found:
            yield bar(f"{name}_served_after", found["served_after"], "calls", 1, why="asked once it was back")
    turns, money = runs["turns"], runs["money"]
    why = "; ".join(f"{name}: {said}" for name, said in turns["failed"].items())[:160]
    yield bar("answered_in_turn", turns["answered"], f"of {turns['sellers']}", turns["sellers"], why=why)
    why = (money["faults"] or [f"{money['receipts']} receipts in {money['claims']} claims"])[0]
    yield bar("money_faults", len(money["faults"]), "faults", 0, better="lower", why=why)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form: 6 sellers, 2 of them killed")
    parser.add_argument("--seed", type=int, default=SEED, help=f"seed of the kills and of the load; default: {SEED}")
    parser.add_argument("--sellers", type=int, help="number of sellers")
    parser.add_argument("--chain-away", type=float, metavar="SECONDS", help="time without the chain")
    words = parser.parse_args()
    load, plan = os.getloadavg()[0], chosen(words)
    runs = measure(plan, words.seed)
    bars = list(bars_of(runs))
    show_bars("chaos", bars)
    if words.json:
        report = {"schema": SCHEMA, "bench": "chaos", "quick": words.quick, "env": environment(load, 1)}
        print(json.dumps({**report, "bars": bars, "runs": runs}))
    if not all(each["met"] for each in bars):
        sys.exit(1)


def chosen(words: argparse.Namespace) -> Plan:
    """The plan that was asked for."""
    plan = QUICK if words.quick else WHOLE
    sizes = replace(plan.sizes, sellers=words.sellers or plan.sizes.sellers)
    away_s = plan.chain_away_s if words.chain_away is None else words.chain_away
    return replace(plan, sizes=sizes, chain_away_s=away_s)


if __name__ == "__main__":
    main()
