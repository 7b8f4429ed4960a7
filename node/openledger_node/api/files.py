"""Control routes of files that people bring: an upload is read and shown, and taken only by a second request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from ..datanets.drafts import FileDrafts
from ..datanets.reading import ReadOptions
from ..network.service import NetworkService

UPLOAD_PATH: Final = "/operator/files"
UPLOAD_BYTES_MAX: Final = 64 << 20
"""Size of a file that the page may upload; the command line reads larger ones."""


Give = Callable[[str, str, str | None, dict[str, Any] | None], dict[str, Any]]


class TakeOrder(BaseModel):
    """The Datanet that takes the rows, and their contributor, if the rows name none."""

    datanet: str
    contributor: str | None = None


def add_files(app: FastAPI, drafts: FileDrafts, network: NetworkService) -> None:
    """Add the routes of uploaded files to the control API."""
    reading = trio.CapacityLimiter(1)  # a reader may use much memory

    @app.post("/files")
    async def read_upload(
        http: Request, name: str, columns: str | None = None, encoding: str | None = None, keep: bool = False
    ) -> dict[str, Any]:
        """Read a file, which is the body, and show what could be taken."""
        options = ReadOptions(name=Path(name).name, columns=columns or None, encoding=encoding or None, keep=keep)
        draft, upload = await trio.to_thread.run_sync(drafts.begin)
        try:
            await _store(http, upload)
            # The reading process ends by its own limits, so a node that stops need not wait for it.
            return await trio.to_thread.run_sync(drafts.read, draft, options, limiter=reading, abandon_on_cancel=True)
        except BaseException:
            drafts.discard(draft)
            raise

    async def give(do: Give, draft: str, order: TakeOrder) -> dict[str, Any]:
        """Measure or take rows; a signed batch is for one place on the chain, which the network tells."""
        is_signed = drafts.kind(draft) == "signed"
        terms = await network.ask("datanet_terms", {"datanet": order.datanet}) if is_signed else None
        return await trio.to_thread.run_sync(
            do, draft, order.datanet, order.contributor or None, terms, abandon_on_cancel=True
        )

    @app.post("/files/{draft}/measure")
    async def measure_rows(draft: str, order: TakeOrder) -> dict[str, Any]:
        """Check the rows of a file that was read, as a contribution would, and take nothing."""
        return await give(drafts.measure, draft, order)

    @app.post("/files/{draft}/take")
    async def take_rows(draft: str, order: TakeOrder) -> dict[str, Any]:
        """Add the rows of a file that was read to a Datanet."""
        return await give(drafts.take, draft, order)

    @app.post("/files/{draft}/discard")
    async def discard_rows(draft: str) -> dict[str, Any]:
        """Delete the rows of a file that was read."""
        await trio.to_thread.run_sync(drafts.discard, draft)
        return {}


async def _store(http: Request, upload: Path) -> None:
    left = UPLOAD_BYTES_MAX
    async with await trio.open_file(upload, "wb") as target:
        async for chunk in http.stream():
            left -= len(chunk)
            if left < 0:
                raise HTTPException(413, f"the file has over {UPLOAD_BYTES_MAX} bytes: use `datanet contribute`")
            await target.write(chunk)
