"""`service`: the node as a service, which starts by itself and is restarted when it fails."""

import os
import subprocess
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ..errors import ConfigError, NodeError
from ..operator.background import installation
from ..operator.background.commands_run import must_run, run_command
from ..operator.background.definition import BackgroundManager, ServiceState, define, program_words, service_name
from ..operator.background.installation import service_manager_here, unseen_variables
from .daemon_client import load_settings, open_node_home
from .prompts import confirm
from .render import emit_json, out_console, plain, say, show_lines, shown

app = typer.Typer(help="Run the node as a service: systemd on Linux, launchd on macOS.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

LOG_S = 30.0
LINGER = "loginctl enable-linger"


@app.command()
def install(yes: Yes = False, as_json: Json = False) -> None:
    """Install the node as a service of your account, and start it. Run again, it updates the service.

    It shows the file that it writes, and asks. The node needs no password when it starts. It opens its own hot keys,
    and your wallet stays locked.
    """
    home, manager = open_node_home(), service_manager_here()
    config = load_settings(home)
    definition = define(home, drain_grace_s=config.node.drain_grace_s, program=program_words())
    planned = installation.plan_installation(home, manager, definition)
    if not as_json:
        say(f"{'writes' if planned.is_change else 'keeps'} [bold]{plain(str(planned.file))}[/]")
        out_console.print(shown(planned.text), markup=False)
    if names := unseen_variables(os.environ):
        say(f"the service does not have {', '.join(names)} of this shell: put those settings into node.toml")
    question = "Restart the node as this service?" if planned.is_running else "Install and start it?"
    confirm(question, yes=yes)
    installation.install(manager, planned)
    state = manager.state(definition.name)
    if as_json:
        emit_json("service", _plain(manager, state))
        return
    say(f"installed {definition.name}; `openledger-node service status` shows its start")
    _say_linger(state)


@app.command()
def status(as_json: Json = False) -> None:
    """Show whether the service is installed, runs, and starts by itself."""
    manager, state = _look()
    if as_json:
        emit_json("service", _plain(manager, state))
        return
    if not state.is_installed:
        say("no service is installed for this data directory: `openledger-node service install` installs one")
        return
    lines = {
        "service": f"{state.name} ({manager.title})",
        "state": state.state + (f", process {state.process}" if state.process else ""),
        "node": state.says,
        "trouble": state.why,
        "restarts": f"{state.num_restarts} after failures" if state.num_restarts else "",
        "starts by itself": _when_started(state),
        "file": str(state.file),
    }
    show_lines({name: text for name, text in lines.items() if text})
    if state.state in ("stopped", "failed"):
        say(f"`{manager.start_command(state.name)}` starts it")
        say("`openledger-node service logs` and `openledger-node logs` say why it ended")
    _say_linger(state)


@app.command()
def logs(
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="Number of lines, from the newest.", min=0, max=10_000)
    ] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show the service manager's log: starts, failures and warnings. `openledger-node logs` has the node's own."""
    manager, state = _look()
    _check_installed(state)
    words = list(manager.log_command(state.name, lines, follow=follow and not as_json))
    if follow and not as_json:
        try:
            subprocess.run(words, check=False)
        except FileNotFoundError as error:
            raise NodeError(f"{words[0]} is not installed: `openledger-node logs` has the node's own log") from error
        return
    found = must_run(words, run_command(words, LOG_S)).out.splitlines()
    if as_json:
        emit_json("service_logs", {"service": state.name, "lines": found})
        return
    for line in found:
        out_console.print(shown(line), markup=False)


@app.command()
def remove(yes: Yes = False, as_json: Json = False) -> None:
    """Stop the service and remove it. Keys, money, models and settings stay where they are."""
    manager, state = _look()
    _check_installed(state)
    confirm(f"Stop the node and remove {state.file}? Its data stays.", yes=yes)
    if state.process and not as_json:
        say("stopping; running answers finish first")
    installation.remove(manager, state.name)
    if as_json:
        emit_json("service", _plain(manager, manager.state(state.name)))
        return
    say(f"removed {state.name}. Its data is still in {plain(str(open_node_home().root))}")
    say("`openledger-node start` runs the node in this terminal")


def _look() -> tuple[BackgroundManager, ServiceState]:
    manager = service_manager_here()
    manager.check()
    return manager, manager.state(service_name(open_node_home()))


def _check_installed(state: ServiceState) -> None:
    if not state.is_installed:
        raise ConfigError(
            "no service is installed for this data directory: `openledger-node service install` installs one"
        )


def _when_started(state: ServiceState) -> str:
    if not state.is_enabled:
        return "no"
    if state.lingers is None:
        return "yes"
    return "with the machine" if state.lingers else "when you log in; it ends when you log out"


def _say_linger(state: ServiceState) -> None:
    if state.lingers is False:
        say(f"it ends when you log out, and starts when you log in: `{LINGER}` keeps it running, and starts it")
        say("with the machine")


def _plain(manager: BackgroundManager, state: ServiceState) -> dict[str, Any]:
    return {
        "manager": manager.title,
        **asdict(state),
        "file": str(state.file),
        "start_command": manager.start_command(state.name),
    }
