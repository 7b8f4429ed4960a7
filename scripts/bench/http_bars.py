"""Bar 3: throughput through a real daemon (HTTP, scheduler and engine process) over the backend alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bars import Bar, bar
from field import Field, Setting
from http_batch import address_of, ask_all
from quiet import Case, PlayerError, Samples, gather
from room import wait_until_calm
from work import Prompt, folder_of, spread

from openledger_node.demo.processes import DemoError, OperatorHome, wait_for
from openledger_node.home import Home as NodeHome
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import find_base

START_TIMEOUT_S = 120.0
CONTENDERS = ("accelerated", "torch")


def measure_http(setting: Setting, field: Field, others_max: float) -> tuple[Bar, dict[str, Any]]:
    """Our fastest backend alone and behind the daemon, in turns."""
    name = next((one for one in CONTENDERS if one in field.contenders), None)
    if name is None:
        return http_bar(None, "our backend did not start"), {}
    shape = setting.shape
    with running_daemon(setting) as door:
        cases: dict[str, Case] = {
            "backend": lambda: setting.run(field.contenders[name], shape.batch, shape.batch),
            "http": lambda: door.batch(setting.prompts.draw(shape.batch), door.models),
            "http base": lambda: door.batch(setting.prompts.draw(shape.batch), [door.base] * shape.batch),
        }
        for case in cases.values():
            case()
        found = gather(cases, shape.samples, others_max=others_max, say=setting.say)
        rates = {one: samples.median(lambda run: run["tokens"] / run["wall_s"]) for one, samples in found.items()}
        first = {one: found[one].median(lambda run: max(run["first_s"])) for one in found}
        status, kernel = door.engine_status(), field.contenders[name].about["kernel"]
    value = rates["http"] / rates["backend"] if rates["http"] and rates["backend"] else None
    runs = {"backend": name, "tokens_per_s": rates, "ttft_s": first, "status": status}
    if status["kernel"] != kernel:
        return http_bar(None, f"the daemon computes by {status['kernel']}, the backend by {kernel}"), runs
    return http_bar(value, why_not(found)), runs


def why_not(found: dict[str, Samples]) -> str:
    missing = [
        samples.error or f"no sample of {name} was undisturbed" for name, samples in found.items() if not samples.kept
    ]
    return "; ".join(missing)


def http_bar(value: float | None, why: str) -> Bar:
    return bar("http_over_backend", value, "ratio", 0.90, 0.94, why=why)


class Door:
    """A daemon's API."""

    def __init__(self, home: OperatorHome, models: list[str], base: str) -> None:
        status = wait_for("the daemon is up", lambda: status_of(home), timeout_s=START_TIMEOUT_S)
        self._home = home
        self._address = address_of(home, status)
        self.models = models
        self.base = base

    def engine_status(self) -> Any:
        """The engine's status from the daemon."""
        return self._home.run("status")["engine"]

    def batch(self, prompts: list[Prompt], models: list[str]) -> dict[str, Any]:
        """Send all requests at once, streamed, each on a connection of its own."""
        asked = {"max_tokens": self.answer_tokens, "temperature": 0}
        pairs = zip(prompts, models, strict=True)
        answers = ask_all(self._address, [{"model": model, "prompt": one.text, **asked} for one, model in pairs])
        if {usage["prompt_tokens"] for usage in answers.usages} != {len(prompts[0].ids)}:
            raise PlayerError(f"prompts of {len(prompts[0].ids)} tokens were taken for others: {answers.usages}")
        return {"wall_s": answers.wall_s, "first_s": answers.first_s, "tokens": answers.tokens}

    answer_tokens = 0  # set by the caller that opens it


def status_of(home: OperatorHome) -> Any:
    """The status once the daemon accepts requests."""
    if home.daemon and not home.daemon.is_alive:
        raise DemoError(f"the daemon ended: {home.daemon.last_words()}")
    try:
        status = home.run("status")
    except DemoError:  # it has locked its data directory, and does not listen yet
        return None
    return status if status["state"] in ("idle", "serving") else None


@contextmanager
def running_daemon(setting: Setting) -> Iterator[Door]:
    """A daemon with a data directory of its own, which serves the batch's adapters from its library."""
    wait_until_calm(setting)
    root = setting.scratch / "home"
    models = fill_library(setting, root)
    home = OperatorHome("daemon", root, settings_of(setting))
    try:
        home.start_daemon()
        door = Door(home, models, find_base(NodeHome(root), str(setting.base)).name)
        door.answer_tokens = setting.shape.answer_tokens
        yield door
    finally:
        home.close()


def fill_library(setting: Setting, root: Path) -> list[str]:
    """Add the batch's adapters to the library, and return their names."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (root / "cache").exists():
        (root / "cache").symlink_to(setting.packed)
    home, base, models = NodeHome(root), find_base(NodeHome(root), str(setting.base)), []
    for number, source in enumerate(spread(setting.sources, setting.shape.batch, setting.shape.batch)):
        models.append(add_adapter(home, Path(folder_of(source) or ""), base, name=f"a{number}").name)
    return models


def settings_of(setting: Setting) -> dict[str, str]:
    shape = setting.shape
    return {
        "OPENLEDGER_API_PORT": "0",
        "OPENLEDGER_NODE_NETWORK": "local",
        "OPENLEDGER_INFERENCE_BASE": str(setting.base),
        "OPENLEDGER_INFERENCE_DTYPE": "bfloat16",
        "OPENLEDGER_INFERENCE_THREADS": str(setting.threads),
        "OPENLEDGER_INFERENCE_BATCH_MAX": str(shape.batch),
        "OPENLEDGER_INFERENCE_CONTEXT_MAX": str(shape.context),
    }
