"""`gov`: the network's values, and what others would have paid."""

import typer

from .replay import add_replay

app = typer.Typer(help="The network's values, and what others would have paid.", no_args_is_help=True)
add_replay(app)


@app.callback()
def _group() -> None:
    """Keep `replay` a subcommand while it is the only one."""
