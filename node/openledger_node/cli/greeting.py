"""Greeting of a start: the base, the API's address, commands to try, and a first answer of the model."""

import os
import shutil
import sys
import threading
import time
from importlib.resources import files
from shlex import quote

from openledger_protocol.constants import DEMO_BASE_NAME

from ..api_key import load_api_key
from ..daemon import Listening
from ..engine.engine import Engine
from ..errors import NodeError
from ..first_words import DEMO_NOTE, FIRST_QUESTION, SAMPLE_ADAPTER, SAMPLE_QUESTION, SAMPLE_TEACHER
from ..text import counted
from .chat_client import ApiAddress, stream_chat, text_of
from .command_tree import PROGRAM
from .daemon_client import open_node_home
from .render import err_console, home_option, plain, say, shown

ANSWER_TOKENS_MAX = 48


def greet(listening: Listening, *, began_s: float, hello: bool) -> None:
    """Print the greeting; with `hello`, a first answer follows while the node already serves.

    `began_s`: when the start began, on the monotonic clock.
    """
    if listening.num_recovered:
        say(f"recovered: {counted(listening.num_recovered, 'request')} of the last run had been cut off")
    say(f"  base      [bold]{plain(listening.base.name)}[/] {plain(_where(listening.engine))}")
    if listening.is_selling:
        say(f"  adapters  {listening.num_adapters} here")
    else:
        say(f"  adapters  those of other nodes: `{plain(program())} peers list` shows who sells which")
    say(f"  API       [bold]{listening.url}/v1[/]   (any OpenAI client; key in {plain(str(listening.key_file))})")
    say(f"  page      [bold]{plain(listening.page)}[/]   (works once; `openledger-node open` prints another)")
    say("\nTry it from another terminal:\n")
    say(f"  {plain(curl_line(listening))}\n")
    say(f"  {plain(program())} chat {quote(FIRST_QUESTION)}\n")
    if listening.base.name == DEMO_BASE_NAME:
        _say_sample(listening)
        say(plain(DEMO_NOTE))
    say("Ctrl-C stops the node; running answers finish first.\n")
    if hello and listening.engine.profile:
        address = ApiAddress(url=listening.url, key=load_api_key(open_node_home()), base=listening.base.name)
        threading.Thread(target=_hello, args=(address, began_s), daemon=True).start()


def _say_sample(listening: Listening) -> None:
    """Show how to ask the adapter that ships for the demo base, if this node sells and has no adapter yet."""
    if (
        listening.num_adapters
        or not listening.is_selling
        or not (files("openledger_node") / "samples" / SAMPLE_ADAPTER).is_dir()
    ):
        return
    say(f"An adapter that {SAMPLE_TEACHER} and others taught ships with the node. To add it and ask it, run:\n")
    say(f"  {plain(program())} adapters add --sample {SAMPLE_ADAPTER}")
    say(f"  {plain(program())} chat {quote(SAMPLE_QUESTION)} --model {SAMPLE_ADAPTER}\n")


def _where(engine: Engine) -> str:
    """Describe the device or the nodes that answer with the base."""
    if profile := engine.profile:
        return f"on {profile.device}, {profile.dtype}, {profile.backend}"
    if engine.failure:
        return f"not now: {engine.failure.why}"
    return "once the node is resumed" if engine.state == "paused" else "by the nodes of the network"


def program() -> str:
    """Return the program as the user can type it: its name if it is on PATH, else its path, and `--home` if given."""
    name = PROGRAM if shutil.which(PROGRAM) else os.path.relpath(sys.argv[0])
    return f"{name}{home_option()}"


def curl_line(listening: Listening) -> str:
    """Build a request to paste as it is; the key stays in its file."""
    messages = f'[{{"role": "user", "content": "{FIRST_QUESTION}"}}]'
    body = f'{{"model": "{listening.base.name}", "messages": {messages}, "temperature": 0}}'
    return (
        f'curl {listening.url}/v1/chat/completions -H "Authorization: Bearer $(cat {quote(str(listening.key_file))})"'
        f" -H 'Content-Type: application/json' -d '{body}'"
    )


def _hello(address: ApiAddress, began_s: float) -> None:
    """Ask through the API as any client would, so that a printed answer proves that the whole path works."""
    messages = [{"role": "user", "content": FIRST_QUESTION}]
    body = {"model": address.base, "messages": messages, "max_tokens": ANSWER_TOKENS_MAX, "temperature": 0}
    try:
        answer = "".join(text_of(event) for event in stream_chat(address, body))
        # Printed in one piece, because other parts of the node print lines in the meantime.
        took = f"{time.monotonic() - began_s:.1f} s after the start"
        err_console.print(f"first answer: {shown(answer.strip())}   ({FIRST_QUESTION} {took})", markup=False)
    except NodeError as error:
        say(f"[yellow]the first answer failed[/]: {plain(str(error))}")
