"""The routes of uploaded files: a reader must not hold up a node that stops."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from fastapi import FastAPI

from openledger_node.api.files import add_files
from openledger_node.datanets.drafts import FOLDER, FileDrafts
from openledger_node.datanets.reading import ReadOptions
from openledger_node.home import Home
from openledger_node.network.service import NetworkService


class SlowReader:
    """Stands in for the process that reads: it runs until the test lets it end."""

    def __init__(self) -> None:
        self.begun, self.released, self.ended = threading.Event(), threading.Event(), threading.Event()

    def read(self, file: Path, rows_file: Path, options: ReadOptions) -> dict[str, Any]:
        self.begun.set()
        self.released.wait(20)  # in vain where the route waits for us
        self.ended.set()
        return {"rows": 1, "without_contributor": 0, "name": options.name}


async def post_file(app: FastAPI) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/files",
        "raw_path": b"/files",
        "query_string": b"name=a.jsonl",
        "headers": [],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        raise AssertionError(f"it was cancelled, and answered {message}")

    await app(scope, receive, send)


async def test_a_file_that_is_being_read_does_not_hold_up_a_stop(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, app = SlowReader(), FastAPI()
    monkeypatch.setattr("openledger_node.datanets.drafts.read_into", reader.read)
    add_files(app, FileDrafts(home), cast(NetworkService, None))  # a file of rows asks no network
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post_file, app)
            await trio.to_thread.run_sync(reader.begun.wait)
            nursery.cancel_scope.cancel()
        assert not reader.ended.is_set()
        assert not list((home.root / FOLDER).iterdir())
    finally:
        reader.released.set()
