"""`service`: the node as a service, which starts by itself and is restarted when it fails."""

import os
import sys
from typing import Annotated

import typer

from ..errors import ConfigError
from ..home import HOME_VARIABLE
from ..operator.background import ask_manager, install_service, plan_service, remove_service, service_of
from .daemon_client import load_settings, open_node_home
from .prompts import confirm
from .render import out_console, plain, say, shown

app = typer.Typer(help="Run the node as a service: systemd on Linux, launchd on macOS.", no_args_is_help=True)
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command()
def install(yes: Yes = False) -> None:
    """Install the node as a service of your account, and start it. Run again, it updates the service.

    It shows the file that it writes, and asks. The node needs no password when it starts. It opens its own hot keys,
    and your wallet stays locked.
    """
    home = open_node_home()
    service = service_of(home)
    text = plan_service(home, service, drain_grace_s=load_settings(home).node.drain_grace_s)
    say(f"writes [bold]{plain(str(service.file))}[/]")
    out_console.print(shown(text), markup=False)
    unseen = [name for name in sorted(os.environ) if name.startswith("OPENLEDGER_") and name != HOME_VARIABLE]
    if unseen:
        say(f"the service does not have {', '.join(unseen)} of this shell: put those settings into node.toml")
    confirm("Write this file, and start the node as this service?", yes=yes)
    install_service(service, text)
    say(f"installed {service.name}; it starts when you log in. Its log: `{' '.join(service.follow)}`")
    if sys.platform != "darwin":
        say(f"its state: `systemctl --user status {service.name}`")
        say("`loginctl enable-linger` starts it with the machine, and keeps it running after you log out")


@app.command()
def remove(yes: Yes = False) -> None:
    """Stop the service and remove it. Keys, money, models and settings stay where they are."""
    home = open_node_home()
    service = service_of(home)
    ask_manager(service)
    if not service.file.exists():
        raise ConfigError(
            "no service is installed for this data directory: `openledger-node service install` installs one"
        )
    confirm(f"Stop the node and remove {service.file}? Its data stays.", yes=yes)
    say("stopping; running answers finish first")
    remove_service(service)
    say(f"removed {service.name}. Its data is still in {plain(str(home.root))}")
    say("`openledger-node start` runs the node in this terminal")
