"""`launch`: start a program that works with language models on this node's API.

Everything goes by environment variables and arguments, so no file of the program changes.
"""

import json
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..errors import InputError, NodeError
from .daemon_client import ask_daemon, open_node_home
from .render import emit_json, out_console, plain, say, shown

KEY: Final = "OPENLEDGER_API_KEY"
PROVIDER: Final = "openledger"
AGENT_TOKENS: Final = 32_000
"""Tokens of context below which a coding agent's own instructions leave little room for work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The command line of a program and its environment."""

    command: Sequence[str]
    key_variable: str  # the environment variable that takes the key
    environment: Mapping[str, str] = field(default_factory=dict)  # without the key

    def to_shell(self, key_file: str) -> str:
        """Write it as a line to paste, which reads the key from its file."""
        given = {name: shlex.quote(value) for name, value in self.environment.items()}
        given[self.key_variable] = f'"$(cat {shlex.quote(key_file)})"'
        return " ".join([*(f"{name}={value}" for name, value in given.items()), shlex.join(self.command)])


def claude(url: str, model: str) -> Launch:
    """Claude Code, over /v1/messages; it appends that path itself."""
    names = ("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL")
    models = dict.fromkeys((*names, "ANTHROPIC_DEFAULT_HAIKU_MODEL"), model)
    # No update checks, reports of errors or usage: the node is all that it has to reach.
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
    environment = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "", **models, **quiet}
    return Launch(command=["claude"], key_variable="ANTHROPIC_AUTH_TOKEN", environment=environment)


def codex(url: str, model: str) -> Launch:
    """Codex over /v1/responses, without the search that OpenAI's servers run."""
    provider = {"name": PROVIDER, "base_url": f"{url}/v1", "wire_api": "responses", "env_key": KEY}
    of_provider = {f"model_providers.{PROVIDER}.{key}": value for key, value in provider.items()}
    settings: dict[str, Any] = {"model_provider": PROVIDER, **of_provider}
    settings |= {"web_search": "disabled", "analytics.enabled": False}
    flags = [word for key, value in settings.items() for word in ("-c", f"{key}={json.dumps(value)}")]
    return Launch(command=["codex", *flags, "--model", model], key_variable=KEY)


def opencode(url: str, model: str) -> Launch:
    """Run opencode over /v1/chat/completions."""
    options = {"baseURL": f"{url}/v1", "apiKey": f"{{env:{KEY}}}"}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": PROVIDER, "options": options, "models": {model: {}}}
    settings = {"provider": {PROVIDER: provider}, "model": f"{PROVIDER}/{model}"}
    return Launch(
        command=["opencode"], key_variable=KEY, environment={"OPENCODE_CONFIG_CONTENT": json.dumps(settings)}
    )


def open_webui(url: str, model: str) -> Launch:
    """Open WebUI, which lists all models by itself; its retrieval uses its own embedding model."""
    environment = {"OPENAI_API_BASE_URL": f"{url}/v1", "DEFAULT_MODELS": model, "ENABLE_OLLAMA_API": "false"}
    return Launch(command=["open-webui", "serve"], key_variable="OPENAI_API_KEY", environment=environment)


PROGRAMS: Final[Mapping[str, tuple[Callable[[str, str], Launch], str]]] = {
    "claude": (claude, "npm install --global @anthropic-ai/claude-code"),
    "codex": (codex, "npm install --global @openai/codex"),
    "opencode": (opencode, "npm install --global opencode-ai"),
    "open-webui": (open_webui, "uv tool install open-webui"),
}
"""Each program with the command that installs it."""

AGENTS: Final = ("claude", "codex", "opencode")


def add_commands(app: typer.Typer) -> None:
    """Add `launch` to the root command."""
    app.command(rich_help_panel="Node")(launch)


def launch(
    program: Annotated[str, typer.Argument(help=f"One of {', '.join(PROGRAMS)}.")],
    model: Annotated[str | None, typer.Option(help="A base or an adapter; the base if not given.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Start the program here, in place of this command.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and start nothing.")] = False,
) -> None:
    """Print the command that starts another program on this node's API, or start it.

    The program's own settings stay as they are.
    """
    if program not in PROGRAMS:
        raise InputError(f"{program!r} is not known here: choose one of {', '.join(PROGRAMS)}")
    home = open_node_home()
    found = ask_daemon(home, "GET", "/connect")
    if found is None:
        raise NodeError("no node is running here: start one with `openledger-node start`")
    chosen = _choose_model(found["models"], model)
    make, install = PROGRAMS[program]
    made = make(found["base_url"].removesuffix("/v1"), chosen)
    if as_json:
        _emit(program, chosen, made, found["key_file"])
        return
    if program in AGENTS:
        _warn_about_context(ask_daemon(home, "GET", "/status"))
    if run:
        _start(made, Path(found["key_file"]), install)
    out_console.print(shown(made.to_shell(found["key_file"])), markup=False)
    if shutil.which(made.command[0]) is None:
        say(f"{made.command[0]} is not installed. Run: {install}")


def _choose_model(models: Sequence[str], wanted: str | None) -> str:
    if wanted is None and models:
        return models[0]
    if wanted is None or wanted not in models:
        raise NodeError(
            f"this node offers no model {wanted!r}. It offers {', '.join(models) or 'none at the moment'}."
        )
    return wanted


def _warn_about_context(status: dict[str, Any] | None) -> None:
    tokens = ((status or {}).get("engine") or {}).get("context_max")
    if tokens is not None and tokens < AGENT_TOKENS:
        say(
            f"[yellow]note[/] a coding agent sends many thousand tokens of instructions, and this base has room for "
            f"{tokens:,}. `openledger-node setup` chooses another"
        )


def _emit(program: str, model: str, made: Launch, key_file: str) -> None:
    fields = {
        "program": program,
        "model": model,
        "command": list(made.command),
        "environment": dict(made.environment),
        "key_variable": made.key_variable,
        "key_file": key_file,
    }
    emit_json("launch", fields)


def _start(made: Launch, key_file: Path, install: str) -> None:
    """Replace this process by the program; the key goes by the environment, where other users can't see it.

    Raises:
        NodeError: the program is not installed.
    """
    if shutil.which(made.command[0]) is None:
        raise NodeError(f"{made.command[0]} is not installed. Run: {plain(install)}")
    environment = {**os.environ, **made.environment, made.key_variable: key_file.read_text().strip()}
    os.execvpe(made.command[0], list(made.command), environment)
