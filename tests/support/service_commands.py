"""Commands of systemd and launchd that answer as in a script, and remember what was asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from openledger_node.operator.background.commands_run import ABSENT, Ran

SHOW, LINGER = "systemctl --user show", "loginctl show-user"


@dataclass
class ServiceCommands:
    """Each command that begins as a key has its outcome; all others work and print nothing."""

    outcomes: dict[str, Ran] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, words: Sequence[str], timeout_s: float) -> Ran:
        line = " ".join(words)
        self.asked.append(line)
        begun = [key for key in self.outcomes if line.startswith(key)]
        return self.outcomes[max(begun, key=len)] if begun else Ran(status=0)

    def show(self, **fields: object) -> None:
        """Let systemd show these fields of the unit."""
        self.outcomes[f"{SHOW} openledger"] = Ran(status=0, out="".join(f"{k}={v}\n" for k, v in fields.items()))

    @property
    def changes(self) -> list[str]:
        """The commands that change something."""
        return [line for line in self.asked if " show" not in line and "reset-failed" not in line]


def absent() -> Ran:
    return Ran(status=ABSENT, err="systemctl is not installed")
