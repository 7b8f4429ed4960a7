"""The cost of a question that another node answers, before it is asked and after it was answered."""

from dataclasses import dataclass, field
from typing import Any

from ..home import Home
from .daemon_client import ask_daemon, load_settings
from .render import plain, say
from .units import open_amount


@dataclass(slots=True)
class CostNotice:
    """Says once for each model that its answers cost, and after each answer what it cost.

    It writes to stderr, so that an answer in a pipe stays clean, and never waits for a confirmation.
    """

    home: Home
    is_quiet: bool = False
    _said: set[str] = field(default_factory=set)

    def before(self, model: str) -> None:
        """Say the most that an answer of this model can cost, if another node gives it."""
        if self.is_quiet or model in self._said:
            return
        self._said.add(model)
        status, limits = ask_daemon(self.home, "GET", "/status"), ask_daemon(self.home, "GET", "/limits")
        if not status or not limits or status["chain"] is None:
            return
        if limits["serve"] and model in self._names_here(status["base"]):
            return
        deposit_wei = load_settings(self.home).payer.deposit_wei
        say(
            f"[yellow]{plain(model)} is not on this machine[/], so another node answers and you pay it: at most "
            f"{open_amount(limits['request_max_wei'])} for each question. A first purchase from a node deposits "
            f"{open_amount(deposit_wei)}; what you don't use comes back with `openledger-node channels close`"
        )

    def after(self, usage: dict[str, Any] | None) -> None:
        """Say what an answer cost, if it cost something."""
        cost_wei = (usage or {}).get("cost_wei")
        if usage and not self.is_quiet and cost_wei not in (None, "0"):
            tokens = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
            say(f"[dim]you paid {open_amount(cost_wei)} for {tokens} · `openledger-node jobs`[/]")

    def _names_here(self, base: str) -> set[str]:
        """The names by which a request can ask for this machine's base and adapters."""
        found = ask_daemon(self.home, "GET", "/adapters") or {"adapters": []}
        names = {name for each in found["adapters"] for name in (each["name"], each["full_name"], each["id"])}
        return {base, *names, *(f"{base}:{name}" for name in names)}
