"""`backup` and `restore`: one encrypted file from which a node comes back."""

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from ..home import RESTORE, claim_home, is_claimed
from ..text import counted
from .daemon_client import open_node_home
from .prompts import PASSWORD_FILE_HELP, new_password, password_of
from .render import emit_json, megabytes, plain, say

PANEL = "Node"
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
PasswordFile = Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP)]


def add_commands(app: typer.Typer) -> None:
    """Add `backup` and `restore` to the root command."""
    for command in (backup, restore):
        app.command(rich_help_panel=PANEL)(command)


def backup(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    with_adapters: Annotated[bool, typer.Option("--with-adapters", help="Include the folder of adapters.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Write keys, ledgers, networks, settings and Datanets into one encrypted file; the node may be running."""
    from ..operator.backup import write_backup

    home = open_node_home()
    password = new_password(f"new password for {file}", password_file)
    written = write_backup(home, file, password.text, with_adapters=with_adapters, may_replace=force)
    size_bytes = file.stat().st_size
    if as_json:
        emit_json("backup", {**written, "file": str(file), "home": str(home.root), "size_bytes": size_bytes})
        return
    say(f"[bold]{plain(str(file))}[/] has {counted(written['num_files'], 'file')}, {megabytes(size_bytes)}")
    say(f"  ledgers in it: {plain(', '.join(written['networks']) or 'none')}")
    _say_left_out(written)
    say("without its password nobody can open it, and nobody can restore the password: keep the two apart")
    say("earnings that this node signs for after this moment are not in it: claim often, and back up again")


def restore(
    file: Annotated[Path, typer.Argument(help="Backup to restore.")],
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into an empty data directory; the whole file is checked first."""
    from ..operator.background import service_of
    from ..operator.backup import restore_backup

    home = open_node_home()
    if is_claimed(home):
        raise ConfigError(
            f"the node runs on {home.root}, and a backup is restored only into an empty data directory: run "
            "`openledger-node --home FOLDER restore FILE` with another folder, or end the node with `openledger-node "
            "stop`, move its folder away, and try again"
        )
    with closing(claim_home(home, RESTORE)):
        restored = restore_backup(home, file, password_of(file, password_file).text)
    if as_json:
        emit_json("restore", {**restored, "file": str(file), "home": str(home.root)})
        return
    if restored["was_interrupted"]:
        say("finished the restore that was interrupted")
    say(
        f"{counted(restored['num_files'], 'file')} from {restored['made_at']} are in [bold]{plain(str(home.root))}[/]"
    )
    _say_left_out(restored)
    if restored["generations"]:
        say("each ledger has a new generation: this node claims what it still can on its old channels,")
        say("signs nothing more on them, and payers open new ones; receipts after the backup are lost")
    say("start only one copy of a node: if the old machine still runs it, stop that one first")
    if (service := service_of(home)).file.exists():
        say(f"`{' '.join(service.start)}` starts its service")


def _say_left_out(manifest: dict[str, Any]) -> None:
    for each in manifest["left_out"]:
        say(f"  not in it: {plain(each['path'])}, {megabytes(each['size_bytes'])} ({plain(each['why'])})")
