"""`adapters pull`: from the Hugging Face hub in this process, or from peers by the daemon, with its progress."""

import time
from collections.abc import Callable
from typing import Any, Final

from ..errors import NodeError
from ..home import Home
from ..models.bases import find_base
from ..models.fetch import Progress
from .daemon_client import RefusedError, ask_daemon, load_settings
from .progress import StageReport
from .render import plain, say

POLL_S: Final = 0.25


def pull_from_peers(home: Home, name: str, *, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Let the running node pull an adapter; Ctrl-C cancels the pull. The parts that have arrived stay.

    Raises:
        RefusedError: no peer sent it, or it can't be served.
        NodeError: no node runs, or it has begun another pull meanwhile.
    """
    started_s = time.monotonic()
    work = ask_daemon(home, "POST", "/adapters/pull", {"name": name})
    if work is None:
        raise NodeError("only a running node has peers to download from: start it with `openledger-node start`")
    try:
        with StageReport() as report:
            while work["pull"]["state"] == "running":
                pull = work["pull"]
                report(Progress(what=pull["what"], done=pull["done_bytes"], total=pull["total_bytes"] or 1))
                sleep(POLL_S)
                work = ask_daemon(home, "GET", "/adapters/work")
                if work is None or work["pull"] is None or work["pull"]["name"] != name:
                    raise NodeError(
                        "the node was stopped or pulls another adapter by now: run "
                        f"`openledger-node adapters pull {name}` again"
                    )
    except KeyboardInterrupt:
        ask_daemon(home, "POST", "/adapters/pull/cancel")
        raise
    return _result(work["pull"], duration_s=time.monotonic() - started_s)


def pull_from_hub(home: Home, name: str) -> dict[str, Any]:
    """Pull OWNER/NAME[@REVISION] into the library; no node needs to run.

    Raises:
        NodeError, ProtocolError: it could not be fetched, or can't be served.
    """
    from ..operator.pull_child import pull_hub_adapter  # imports an HTTP library, unlike a pull from peers

    settings, started_s = load_settings(home), time.monotonic()
    base = find_base(home, settings.inference.base)
    with StageReport() as report:
        added = pull_hub_adapter(home, name, base, disk_cap_bytes=settings.limits.disk_bytes, report=report)
    if added.made_for:
        say(f"[yellow]its files name another base[/], {plain(added.made_for)}, so its answers may be poor")
    return {
        "adapter": added.adapter.full_name,
        "digest": added.adapter.id,
        "from_peer": None,
        "bytes": added.received_bytes,
        "duration_s": round(time.monotonic() - started_s, 3),
        "missing_versions": {},
    }


def _result(pull: dict[str, Any], *, duration_s: float) -> dict[str, Any]:
    if pull["state"] == "cancelled":
        raise NodeError(f"the pull of {pull['name']} was cancelled, such as on the page")
    if pull["state"] == "failed":
        raise RefusedError(pull["why"], pull["exit_code"] or NodeError.exit_code)
    return {
        "adapter": pull["adapter"],
        "digest": pull["digest"],
        "from_peer": pull["from_peer"],
        "bytes": pull["received_bytes"],
        "duration_s": round(duration_s, 3),
        "missing_versions": pull["missing_versions"],
    }
