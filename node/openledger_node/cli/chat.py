"""`chat`: talk to the running node."""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import typer

from ..errors import InputError, NodeError
from ..home import Home
from .chat_client import ApiAddress, ColumnAnswer, CostNotice, ask_both, find_api, stream_chat, stream_guest, text_of
from .daemon_client import open_node_home
from .render import emit_json, out_console, plain, say, shown
from .transactions import open_amount

EXIT_WORDS = ("/bye", "/exit", "/quit")
WORDS = {
    "/help": "show these words",
    "/new": "start over, and so does /clear",
    "/system TEXT": "set the system message, and start over",
    "/model NAME": "ask another base or adapter",
    "/bye": "end the chat",
}
SLASH_WORD = re.compile(r"/[a-z?]+(\s|$)")
"""A word that is meant for the chat, unlike a path such as `/etc/hosts`."""

Ask = Callable[..., tuple[str, dict[str, Any]]]


def add_commands(app: typer.Typer) -> None:
    """Add `chat` to the root command."""
    app.command(rich_help_panel="Models")(chat)


def chat(
    question: Annotated[
        str | None, typer.Argument(help="Ask this once and exit; without it, start a conversation.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Base or adapter; by default the base.")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.", min=0, max=2)] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1)] = 512,
    seed: Annotated[
        int | None, typer.Option(help="Seed for a --temperature above 0; the same seed gives the same answer.")
    ] = None,
    base_too: Annotated[
        str | None,
        typer.Option(metavar="ADAPTER", help="Ask this adapter and the base, and show both answers side by side."),
    ] = None,
    as_guest: Annotated[
        bool,
        typer.Option(
            "--as-guest", help="Ask as a paying guest with its own throwaway account; development networks only."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; needs a question.")] = False,
) -> None:
    """Chat with the running node; answers stream as they are written.

    With `--as-guest`, a requester inside the daemon asks and pays as any other requester would. The node that answers
    can read your text.

    Examples: `openledger-node chat`, `openledger-node chat "Who keeps the harbour?" --base-too harbour`
    """
    if base_too and model:
        raise InputError("--base-too names the adapter already; leave out --model")
    if as_json and question is None:
        raise InputError("--json needs a QUESTION")
    home = open_node_home()
    address = find_api(home)
    notice = CostNotice(home, is_quiet=as_json)
    ask: Ask = partial(_ask_as_guest, home) if as_guest else partial(_ask, address, notice)
    if base_too:
        ask = partial(_ask_beside, home, address, None if as_guest else notice)
    model = base_too or model
    body: dict[str, Any] = {"model": model or address.base, "temperature": temperature, "max_tokens": max_tokens}
    if seed is not None:
        body["seed"] = seed
    history = _first_turn(system)
    if question is not None:
        check_text(question, system or "")
        history.append({"role": "user", "content": question})
        answer, more = ask({**body, "messages": history}, is_quiet=as_json)
        if as_json:
            emit_json("chat", {"model": body["model"], "answer": answer, **more})
        return
    say(f"[dim]{plain(body['model'])} · /help shows what you can type · the node that answers can read this[/]")
    _converse(ask, body, history)


def _converse(ask: Ask, body: dict[str, Any], history: list[dict[str, str]]) -> None:
    """Ask what is typed, one question after the other, each with all turns before it."""
    for text in _questions():
        if SLASH_WORD.match(text):
            _obey(text, body, history)
            continue
        history.append({"role": "user", "content": text})
        try:
            check_text(text)
            answer, _ = ask({**body, "messages": history}, is_quiet=False)
        except (NodeError, KeyboardInterrupt) as error:
            say(f"\n[yellow]{plain(str(error) or 'interrupted')}[/]  [dim]/new starts over[/]")
            history.pop()
            continue
        history.append({"role": "assistant", "content": answer})


def _obey(text: str, body: dict[str, Any], history: list[dict[str, str]]) -> None:
    """Carry out a word that starts with a slash. An unknown one is refused, because a question may cost money."""
    word, _, value = (part.strip() for part in text.partition(" "))
    if word in ("/new", "/clear"):
        del history[1 if history[:1] and history[0]["role"] == "system" else 0 :]
        say("[dim]a new conversation[/]")
    elif word == "/system" and value:
        history[:] = _first_turn(value)
        say("[dim]a new conversation with this system message[/]")
    elif word == "/model" and value:
        body["model"] = value
        say(f"[dim]{plain(value)} answers from now on[/]")
    elif word in ("/help", "/model", "/system"):
        say(f"[dim]{plain(body['model'])} answers[/]")
        for usage, about in WORDS.items():
            say(f"  {usage:<14}[dim]{about}[/]")
    else:
        say(f"[yellow]{plain(word)} is not a word of this chat[/], so it was not sent: {', '.join(WORDS)}")


def _first_turn(system: str | None) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}] if system else []


def check_text(*texts: str) -> None:
    """Require texts that can be sent: a terminal hands over bytes that are not UTF-8 as half characters.

    Raises:
        NodeError: one of them can't.
    """
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise NodeError("the question is not UTF-8 text: send it in UTF-8") from error


def _ask(
    address: ApiAddress, notice: CostNotice, body: dict[str, Any], *, is_quiet: bool
) -> tuple[str, dict[str, Any]]:
    notice.before(body["model"])
    texts, usage = [], None
    for event in stream_chat(address, body):
        texts.append(text_of(event))
        usage = event.get("usage") or usage
        _show(texts[-1], is_quiet=is_quiet)
    _show("\n", is_quiet=is_quiet)
    notice.after(usage)
    return "".join(texts), {"usage": usage}


def _ask_beside(
    home: Home, address: ApiAddress, notice: CostNotice | None, body: dict[str, Any], *, is_quiet: bool
) -> tuple[str, dict[str, Any]]:
    """Ask adapter and base at the same time, with the same seed, so that only the adapter makes a difference.

    Without a `notice` of the cost, the guest asks the adapter and pays.
    """
    body = {"seed": 0, **body}
    bought, usage = dict[str, Any](), dict[str, Any]()
    if notice:
        notice.before(body["model"])

    def of_guest() -> Iterator[str]:
        for line in stream_guest(home, body):
            if "text" in line:
                yield line["text"]
            else:
                bought.update(line)

    def locally(asked: dict[str, Any]) -> Iterator[str]:
        for event in stream_chat(address, asked):
            if asked is body:
                usage.update(event.get("usage") or {})
            yield text_of(event)

    base = ColumnAnswer(title=f"{address.base} alone", pieces=lambda: locally({**body, "model": address.base}))
    adapter = ColumnAnswer(title=str(body["model"]), pieces=(lambda: locally(body)) if notice else of_guest)
    ask_both(base, adapter, is_quiet=is_quiet)
    if notice:
        notice.after(usage)
    if bought and not is_quiet:
        _say_bought(bought)
    return adapter.text, {"base": {"model": address.base, "answer": base.text}, **bought}


def _ask_as_guest(home: Home, body: dict[str, Any], *, is_quiet: bool) -> tuple[str, dict[str, Any]]:
    """Ask as the guest, and print its payment."""
    texts, bought = [], dict[str, Any]()
    for line in stream_guest(home, body):
        if "text" in line:
            texts.append(line["text"])
            _show(texts[-1], is_quiet=is_quiet)
        else:
            bought = line
    _show("\n", is_quiet=is_quiet)
    if bought["why_cut"]:
        say(f"[yellow]cut short[/]: {plain(bought['why_cut'])}")
    if not is_quiet:
        _say_bought(bought)
    return "".join(texts), bought


def _say_bought(bought: dict[str, Any]) -> None:
    work = bought["receipt"]["work"]
    say(
        f"[dim]the guest paid {open_amount(bought['receipt']['amount_wei'])} for {work['tokens_in']} + "
        f"{work['tokens_out']} tokens · `openledger-node attribution show {bought['digest'][:12]}` · "
        "`openledger-node rewards show`[/]"
    )


def _show(text: str, *, is_quiet: bool) -> None:
    if not is_quiet:
        out_console.print(shown(text), end="", markup=False)


def _questions() -> Iterator[str]:
    """Read questions until the end of input, Ctrl-D, Ctrl-C or an exit word."""
    while True:
        try:
            text = input("» " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if text in EXIT_WORDS:
            return
        if text:
            yield text
