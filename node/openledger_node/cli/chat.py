"""`chat`: talk to the running node."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..errors import NodeError
from .client import ApiAddress, find_api, stream_chat, text_of
from .context import open_node_home
from .render import emit_json, out_console, plain, say, shown

NEW_WORD = "/new"
EXIT_WORDS = ("/bye", "/exit", "/quit")


def add_verbs(app: typer.Typer) -> None:
    """Hang `chat` on the root."""
    app.command(rich_help_panel="Models")(chat)


def chat(
    question: Annotated[str | None, typer.Argument(help="Ask once and leave; without it, a conversation.")] = None,
    model: Annotated[str | None, typer.Option(help="Base or adapter; the base if not given.")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.", min=0, max=2)] = 0.2,
    max_tokens: Annotated[int, typer.Option(help="Longest answer.", min=1)] = 512,
    seed: Annotated[int | None, typer.Option(help="Draw the same answer again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; needs a question.")] = False,
) -> None:
    """Talk to the running node; answers stream as they are written.

    Examples: `openledger-node chat`, `openledger-node chat "Who keeps the harbour?" --model harbour`
    """
    if as_json and question is None:
        raise typer.BadParameter("--json needs a question", param_hint="QUESTION")
    address = find_api(open_node_home())
    body: dict[str, Any] = {"model": model or address.base, "temperature": temperature, "max_tokens": max_tokens}
    if seed is not None:
        body["seed"] = seed
    history = [{"role": "system", "content": system}] if system else []
    if question is None:
        say(f"[dim]{plain(body['model'])} · /new begins anew, /bye ends[/]")
    for text in [question] if question is not None else _questions():
        if text == NEW_WORD and question is None:
            del history[1 if system else 0 :]
            continue
        history.append({"role": "user", "content": text})
        try:
            answer, usage = _ask(address, {**body, "messages": history}, is_quiet=as_json)
        except (NodeError, KeyboardInterrupt) as error:
            if question is not None:
                raise
            say(f"\n[yellow]{plain(str(error) or 'interrupted')}[/]  [dim]/new begins anew[/]")
            history.pop()
            continue
        history.append({"role": "assistant", "content": answer})
        if as_json:
            emit_json("chat", {"model": body["model"], "answer": answer, "usage": usage})


def _ask(address: ApiAddress, body: dict[str, Any], *, is_quiet: bool) -> tuple[str, dict[str, int] | None]:
    texts, usage = [], None
    for event in stream_chat(address, body):
        texts.append(text_of(event))
        usage = event.get("usage") or usage
        if not is_quiet:
            out_console.print(shown(texts[-1]), end="", markup=False)
    if not is_quiet:
        out_console.print()
    return "".join(texts), usage


def _questions() -> Iterator[str]:
    """Read questions until the end of input, Ctrl-D, Ctrl-C or a word that ends it."""
    while True:
        try:
            text = input("» " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if text in EXIT_WORDS:
            return
        if text:
            yield text
