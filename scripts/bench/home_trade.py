"""One trial of `home.py`: a seller and a buyer in two homes find each other, trade, and the seller is paid."""

import time
from contextlib import ExitStack
from typing import Any

from home_routers import LINE, Line
from home_world import AtHome, Watch, World

from openledger_node.demo.processes import DemoError, wait_for

UP_TIMEOUT_S, HEARD_TIMEOUT_S, PAID_TIMEOUT_S = 120.0, 60.0, 60.0
DIRECT_TIMEOUT_S, STATE_TIMEOUT_S, STATE_EVERY_S = 15.0, 20.0, 0.5
DEPOSIT_WEI = str(10**18)
RELAYED_AGAIN_S = 40.0

Figures = dict[str, Any]


def trade(world: World, line: Line, *, kills_relay: bool = False) -> Figures:
    """Run a trial, and return its figures; `why` says what failed, and is empty if nothing did."""
    figures: Figures = {"line": line.value, "why": "", "traded": False, "paid": False, "direct_s": None}
    began_s = time.monotonic()
    with ExitStack() as stack:
        seller = stack.enter_context(world.node("seller", line, 6))
        buyer = stack.enter_context(world.node("buyer", line, 8, OPENLEDGER_NODE_SERVE="false"))
        for each in (seller, buyer):
            stack.callback(each.node.interrupt)  # both, before either is waited for
        try:
            _trade(stack, seller, buyer, figures)
            if kills_relay:
                _kill_relay(world, buyer, figures)
        except DemoError as error:
            figures["why"] = figures["why"] or str(error)
        figures |= {"seller": reach_of(seller), "buyer": reach_of(buyer)}
    figures["trial_s"] = round(time.monotonic() - began_s, 1)
    return figures


def _trade(stack: ExitStack, seller: AtHome, buyer: AtHome, figures: Figures) -> None:
    """Have the buyer buy an answer of the seller; figures in seconds count from when both are up, or as named."""
    began_s = time.monotonic()
    for each in (seller, buyer):
        each.start()
    for each in (seller, buyer):
        wait_for(f"{each.node.name} is up", each.is_up, timeout_s=UP_TIMEOUT_S)
    up_s = time.monotonic()
    wallet = seller.node.status()["address"]
    direct = stack.enter_context(Watch(lambda: buyer.machine.is_connected(seller.seen_as)))
    is_named = lambda: reach_of(seller).get("state", "unknown") != "unknown"  # noqa: E731
    named = stack.enter_context(Watch(is_named, every_s=STATE_EVERY_S))
    wait_for("the buyer hears of the seller", lambda: buyer.has_heard(wallet, DEPOSIT_WEI), timeout_s=HEARD_TIMEOUT_S)
    figures["start_s"], figures["heard_s"] = _rounded(up_s - began_s), _rounded(time.monotonic() - up_s)
    buyer.act("channels open", node=wallet, amount_wei=DEPOSIT_WEI)
    wait_for("the deposit is on the chain", buyer.has_deposit, timeout_s=PAID_TIMEOUT_S)
    asked_s = time.monotonic()
    bought = buyer.buy()
    figures["first_text_s"], figures["traded"] = _rounded(bought.first_s), not bought.why
    figures["why"] = bought.why
    if not bought.why:
        wait_for("the seller is paid", seller.is_paid, timeout_s=PAID_TIMEOUT_S)
        figures["paid"] = True
    found_s = direct.wait(max(0.0, asked_s + DIRECT_TIMEOUT_S - time.monotonic()))
    # A node may connect with a seller before anyone asks, and then the time since both are up is the longer one.
    figures["direct_s"] = None if found_s is None else _rounded(found_s - (asked_s if found_s > asked_s else up_s))
    first_s = asked_s + (bought.first_s or 0.0)
    figures["first_was_relayed"] = not bought.why and (found_s is None or found_s > first_s)
    state_s = named.wait(STATE_TIMEOUT_S)
    figures["state_s"] = None if state_s is None else _rounded(state_s - up_s)
    again = buyer.buy()
    figures["again_s"] = _rounded(again.first_s)


def _kill_relay(world: World, buyer: AtHome, figures: Figures) -> None:
    """Kill the bootstrap node that an answer just came over, and ask until there is one again."""
    machines = [machine for machine, _, _ in world.bootstraps]
    before = [machine.bytes_received(LINE) for machine in machines]
    buyer.buy()
    passed_on = [machine.bytes_received(LINE) - each for machine, each in zip(machines, before, strict=True)]
    number = passed_on.index(max(passed_on))
    world.kill_bootstrap(number)
    killed_s = time.monotonic()
    try:
        while time.monotonic() - killed_s < RELAYED_AGAIN_S:
            bought = buyer.buy()
            if not bought.why:
                figures["relay_killed_s"] = round(time.monotonic() - killed_s, 2)
                return
        figures["relay_killed_why"] = bought.why
    finally:
        figures["relay_bytes"] = passed_on
        world.start_bootstrap_again(number)


def reach_of(at: AtHome) -> Figures:
    """What the node says of how it is reached; empty from one that says nothing."""
    try:
        status = at.node.status()
    except DemoError:
        return {}
    found: Figures = status.get("reach") or {}
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
