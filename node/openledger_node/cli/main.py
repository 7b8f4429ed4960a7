"""`openledger-node`: the verbs, their shared flags, and exit codes."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from openledger_protocol.errors import AdapterRefusedError, ProtocolError

from ..errors import ModelError, NodeError
from . import (
    adapters,
    attribution,
    channels,
    chat,
    config,
    datanet,
    demo,
    devnet,
    doctor,
    factory,
    jobs,
    models,
    network,
    node,
    peers,
    rewards,
    stake,
    wallet,
)
from .context import set_home
from .render import plain, say

INTERRUPTED = 130
WRONG_WORDS: Any = typer.BadParameter.__mro__[2]
"""ClickException, the base of all usage errors; found this way, since newer typers carry a click of their own."""

app = typer.Typer(
    name="openledger-node",
    help="Serve a base model and any number of LoRA adapters from this machine, behind an OpenAI-compatible API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def common(
    home: Annotated[
        Path | None, typer.Option(help="The node's home folder.", envvar="OPENLEDGER_HOME", show_default=False)
    ] = None,
) -> None:
    """Flags that every verb has."""
    set_home(home)


node.add_verbs(app)
jobs.add_verbs(app)
doctor.add_verbs(app)
chat.add_verbs(app)
demo.add_verbs(app)
app.add_typer(models.app, name="models", rich_help_panel="Models")
app.add_typer(adapters.app, name="adapters", rich_help_panel="Models")
app.add_typer(datanet.app, name="datanet", rich_help_panel="Models")
app.add_typer(factory.app, name="factory", rich_help_panel="Models")
app.add_typer(config.app, name="config", rich_help_panel="Node")
app.add_typer(devnet.app, name="devnet", rich_help_panel="Node")
app.add_typer(network.app, name="network", rich_help_panel="Money")
app.add_typer(peers.app, name="peers", rich_help_panel="Node")
app.add_typer(wallet.app, name="wallet", rich_help_panel="Money")
app.add_typer(stake.app, name="stake", rich_help_panel="Money")
app.add_typer(channels.app, name="channels", rich_help_panel="Money")
app.add_typer(rewards.app, name="rewards", rich_help_panel="Money")
rewards.add_verbs(app, "Money")
app.add_typer(attribution.app, name="attribution", rich_help_panel="Money")


def main() -> None:
    """Run one verb; every failure that somebody can act on is one line that says how."""
    try:
        status = app(standalone_mode=False)
    except WRONG_WORDS as error:
        error.show()
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        say("interrupted")
        sys.exit(INTERRUPTED)
    except (NodeError, ProtocolError) as error:
        say(f"[bold red]error[/] {plain(str(error))}")
        sys.exit(exit_code(error))
    except OSError as error:
        say(f"[bold red]error[/] {plain(str(error))}")
        sys.exit(NodeError.exit_code)
    sys.exit(status if isinstance(status, int) else 0)


def exit_code(error: NodeError | ProtocolError) -> int:
    """The documented exit code of a failure."""
    if isinstance(error, NodeError):
        return error.exit_code
    return ModelError.exit_code if isinstance(error, AdapterRefusedError) else NodeError.exit_code
