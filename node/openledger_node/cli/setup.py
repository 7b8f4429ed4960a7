"""`setup`: three questions with proposed answers; run again, it shows and changes the settings."""

import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from openledger_protocol.constants import DEMO_BASE_NAME, LOCAL_NETWORK
from openledger_protocol.errors import ProtocolError

from ..api_key import load_api_key
from ..config import Config, InferenceConfig, MarketConfig, Origin, load_config
from ..engine.budget import check_disk_room
from ..errors import ConfigError, InputError, NodeError
from ..home import Home, is_claimed
from ..keystore import WALLET, account_file, create_account
from ..models.bases import FAKE_BASE_NAME, base_here, problem_of
from ..models.download import pull_base
from ..models.gguf_name import read_hub_gguf
from ..models.stores import find_elsewhere, locate
from ..network_defaults import load_network_config
from ..network_file import AUTO, EMBEDDED, current_network, is_embedded, join_network
from ..operator.base_fits import place_text
from ..operator.base_look import hub_name
from ..operator.prices import changed_market
from ..setting import Setting, checked
from ..settings_file import write_settings
from .base_check import ANYWAY_HELP, BaseCheck, show_trouble
from .daemon_client import open_node_home
from .limits import note_unused_vram
from .network_source import fetch_network
from .progress import StageReport
from .prompts import PASSWORD_FILE_HELP, new_account_password
from .render import emit_json, plain, say, show_table
from .units import amount, bytes_of, size, wei_of

DEVELOPMENT: Final = "development"
NO_PRICE: Final = "none"

HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupAnswers:
    """Answers from flags or prompts; None keeps the setting, or takes the proposal."""

    base: str | None
    network: str | None
    price: str | None
    serve: bool | None
    day_max: str | None
    vram: str | None
    quantisation: str | None


def add_commands(app: typer.Typer) -> None:
    """Add `setup` to the root command."""
    app.command(rich_help_panel="Node")(setup)


def setup(
    base: Annotated[
        str | None,
        typer.Option(
            help="Base to serve: a name from `models list`, or any name that `models pull` takes.",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="development, local (no money), or the FILE or URL#sha256=HASH of a network.json.",
            show_default=False,
        ),
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(
            help="OPEN for 1,000 tokens in and 1,000 out together; none serves nothing and only asks others.",
            show_default=False,
        ),
    ] = None,
    serve: Annotated[
        bool | None, typer.Option(help="Serve and sell, or only ask the network.", show_default=False)
    ] = None,
    day_max: Annotated[
        str | None, typer.Option(help="Most OPEN that requests to others may cost per UTC day.", show_default=False)
    ] = None,
    vram: Annotated[
        str | None, typer.Option(help="Most GPU memory for the engine, such as 20GB.", show_default=False)
    ] = None,
    quantisation: Annotated[
        str | None,
        typer.Option(help="Quantisation of the base; without it, setup proposes one that fits.", show_default=False),
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help=PASSWORD_FILE_HELP, show_default=False)] = None,
    pull: Annotated[bool, typer.Option(help="Download the base if it is not on this machine.")] = True,
    anyway: Annotated[bool, typer.Option("--anyway", help=ANYWAY_HELP)] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Take every proposal without asking.")] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Ask nothing and change only what the flags say; for scripts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Set up the node in three questions. Run it again to see the settings and change them.

    The questions are: which base, which network, and what price. Each has a proposed answer and a flag. Comments in
    node.toml are kept.
    """
    home = open_node_home()
    config, origins = load_network_config(home)
    wanted = SetupAnswers(
        base=base,
        network=network,
        price=price,
        serve=serve,
        day_max=day_max,
        vram=vram,
        quantisation=quantisation,
    )
    _check_flags(home, config, wanted)
    bases = BaseCheck(home, _as_wanted(config, wanted), is_anyway=anyway)
    is_asked = not (yes or no_input or as_json)
    if is_asked:
        if not sys.stdin.isatty():
            raise ConfigError("no terminal to ask at: give --yes to take the proposals, or --no-input with flags")
        _show_settings(origins)
        wanted = _ask(home, config, bases, wanted)
    elif yes and base is None and not home.config_file.exists():
        wanted = replace(wanted, base=bases.propose())
    if wanted.base is not None and (pull or not bases.is_on_hub(wanted.base)):
        bases.require_fit(wanted.base, pull=pull)
        is_new = _base_setting(wanted.base) != config.inference.base or not home.config_file.exists()
        if is_new and wanted.quantisation is None and not (no_input or as_json):
            wanted = replace(wanted, quantisation=bases.quantisation_for(wanted.base))
    changes = _changes(home, config, wanted)
    _join(home, wanted.network, password_file)
    if changes:
        write_settings(home.config_file, changes)
    load_api_key(home)
    after, _ = load_network_config(home)
    _bring_base(home, wanted.base, pull=pull)
    _report(home, after, changes, as_json=as_json)
    if vram:
        note_unused_vram(after)


# ---- The questions


def _check_flags(home: Home, config: Config, wanted: SetupAnswers) -> None:
    """Check the flags before anything is asked."""
    if wanted.base is not None:
        _check_base(home, wanted.base)
    if wanted.network is not None:
        _check_network(home, wanted.network)
    if wanted.price is not None:
        _check_price(config.market, wanted.price)
    if wanted.day_max is not None:
        wei_of(wanted.day_max)
    if wanted.vram is not None:
        bytes_of(wanted.vram)
    if wanted.quantisation is not None:
        _check_quantisation(wanted.quantisation)


def _as_wanted(config: Config, wanted: SetupAnswers) -> Config:
    """The settings that decide what fits, with those of the flags."""
    inference, limits = config.inference, config.limits
    if wanted.quantisation is not None:
        inference = replace(inference, quantisation=wanted.quantisation)
    if wanted.vram is not None:
        limits = replace(limits, vram_bytes=bytes_of(wanted.vram))
    return replace(config, inference=inference, limits=limits)


def _ask(home: Home, config: Config, bases: BaseCheck, wanted: SetupAnswers) -> SetupAnswers:
    """Ask for what no flag has set."""
    if wanted.base is None:
        proposed = bases.propose()
        say(f"this machine: {plain(place_text(bases.machine, bases.room))}")
        show_trouble(bases.machine)
        _show_found()
        if not bases.is_hub_up:
            say("[yellow]note[/] the Hugging Face hub does not answer, so only the demo base can be downloaded now")
        say("\nWhich base? Give OWNER/NAME of the Hugging Face hub, a name from above, or a folder or GGUF file.")
        usual = config.inference.base if home.config_file.exists() else proposed
        answer = _prompt("1 of 3  base", usual, partial(_check_base, home))
        wanted = replace(wanted, base=answer)
    if wanted.network is None:
        say("\nWhich network? There is no public network yet, so money is real only on one that you or others found.")
        say("  development  a private test chain inside the node; its money is worth nothing")
        say("  local        no chain and no money")
        say(
            "  FILE         the network of a network.json, or URL#sha256=HASH of one; with real money you choose a "
            "wallet password next"
        )
        usual = _network_now(home, config)
        network = _prompt("2 of 3  network", usual, lambda network: _check_network(home, network))
        wanted = replace(wanted, network=network)
    if wanted.price is None and wanted.serve is None:
        say("\nWhich price, in OPEN for 1,000 tokens of a prompt and 1,000 of an answer? Your own requests are free.")
        say("  none         serve nothing, and only send requests to others")
        price = _prompt("3 of 3  price", _price_now(config), lambda price: _check_price(config.market, price))
        wanted = replace(wanted, price=price)
    return wanted


def _show_found() -> None:
    """Show the models of other programs, which need no download."""
    found, _ = find_elsewhere()
    if found:
        say("\nhere already:")
    for each in found:
        say(f"  {plain(each['source']):<38} {each['format'] or '?':<8} {size(each['size_bytes'])}")


def _prompt(question: str, usual: str, check: Callable[[str], None]) -> str:
    """Ask until the answer is valid; the proposal always is."""
    while True:
        answer = str(typer.prompt(question, default=usual, err=True)).strip()
        try:
            if answer != usual:
                check(answer)
            return answer
        except (NodeError, ProtocolError, InputError, OSError) as error:
            say(f"[bold red]not accepted[/] {plain(str(error))}")


def _network_now(home: Home, config: Config) -> str:
    if config.node.network == LOCAL_NETWORK:
        return LOCAL_NETWORK
    if is_embedded(home, config.node.network):
        return DEVELOPMENT
    network = current_network(home, config.node.network)
    return network.network if network else DEVELOPMENT


def _price_now(config: Config) -> str:
    if not config.node.serve:
        return NO_PRICE
    return amount(config.market.price_in_wei + config.market.price_out_wei).replace(",", "")


# ---- The changes


def _changes(home: Home, config: Config, wanted: SetupAnswers) -> dict[str, object]:
    """Collect the settings whose values change."""
    settings: dict[str, object] = {}
    if wanted.base is not None:
        settings["inference.base"] = _base_setting(wanted.base)
    if wanted.quantisation is not None:
        settings["inference.quantisation"] = wanted.quantisation
    if wanted.network is not None:
        settings["node.network"] = _network_setting(home, config, wanted.network)
    if wanted.serve is not None:
        settings["node.serve"] = wanted.serve
    if wanted.price == NO_PRICE:
        settings["node.serve"] = False
    elif wanted.price is not None:
        market = changed_market(config.market, {"price_wei": wei_of(wanted.price)})
        settings |= {"market.price_in_wei": market.price_in_wei, "market.price_out_wei": market.price_out_wei}
        settings.setdefault("node.serve", True)
    if wanted.day_max is not None:
        settings["payer.day_max_wei"] = int(wei_of(wanted.day_max))
    if wanted.vram is not None:
        settings["limits.vram_bytes"] = bytes_of(wanted.vram)
    return {name: value for name, value in settings.items() if value != _value_of(config, name)}


def _value_of(config: Config, name: str) -> object:
    table, key = name.split(".", 1)
    return getattr(getattr(config, table), key)


def _base_setting(base: str) -> str:
    """Turn OWNER/NAME of the hub into OWNER--NAME, and the path of a GGUF file into a full one."""
    path = Path(base).expanduser()
    if path.is_file():
        return str(path.absolute())
    is_other = path.is_dir() or ":" in base or read_hub_gguf(base)
    return base if is_other or base.count("/") != 1 else base.replace("/", "--")


def _network_setting(home: Home, config: Config, network: str) -> str:
    if network == LOCAL_NETWORK:
        return LOCAL_NETWORK
    if network == DEVELOPMENT:
        return config.node.network if config.node.network in (AUTO, EMBEDDED) else EMBEDDED
    return network if home.network_file(network).exists() else AUTO  # auto takes the network that was joined last


def _join(home: Home, network: str | None, password_file: Path | None) -> None:
    """Join the network of a network.json, and create a wallet for it if there is none."""
    if network is None or network in (DEVELOPMENT, LOCAL_NETWORK) or home.network_file(network).exists():
        return
    joined = fetch_network(network)
    folder = home.network_keys(joined.network)
    if not account_file(folder, WALLET).exists():
        account = create_account(folder, WALLET, new_account_password(home, joined.network, WALLET, password_file))
        say(f"created wallet {account.address} in {plain(str(account.file))}; back it up")
    join_network(home, joined)


def _bring_base(home: Home, base: str | None, *, pull: bool) -> None:
    """Bring a base that was just chosen; the first start downloads the demo base."""
    if base is None or not pull or base in (DEMO_BASE_NAME, FAKE_BASE_NAME) or Path(base).expanduser().is_dir():
        return
    known = base_here(home, base)
    if known and problem_of(known) is None:
        return
    name = hub_name(base)
    if locate(name) is None:
        if read_hub_gguf(name) is None and name.count("/") != 1:
            return
        check_disk_room(home, load_config(home.config_file)[0].limits.disk_bytes)
    with StageReport() as report:
        pull_base(home, name, source=None, report=report)


# ---- The output


def _show_settings(origins: list[Origin]) -> None:
    """Show the settings that differ from the defaults."""
    changed = [origin for origin in origins if origin.source != "default"]
    if changed:
        show_table(["setting", "value", "from"], [[o.key, str(o.value), o.source] for o in changed], empty="")


def _report(home: Home, after: Config, changes: dict[str, object], *, as_json: bool) -> None:
    runs = is_claimed(home)
    restart = runs and bool(changes)
    if as_json:
        fields = {"file": str(home.config_file), "changed": sorted(changes), "is_restart_due": restart}
        emit_json("setup", {**fields, "settings": asdict(after)})
        return
    for name, value in changes.items():
        say(f"  {name} = {value}")
    if not changes:
        say("nothing changed")
    where = f"in {home.config_file}" if home.config_file.exists() else "all at their defaults, so no file was written"
    say(f"\nbase      {plain(after.inference.base)}")
    say(f"node      {_what_it_does(home, after)}")
    say(f"settings  {plain(where)}")
    say(f"next      {_next_step(runs=runs, restart=restart)}; to check everything, run `openledger-node doctor`")


def _what_it_does(home: Home, after: Config) -> str:
    if not after.node.serve:
        return "sends requests to others and serves nothing"
    if after.node.network == LOCAL_NETWORK:
        return "serves this machine alone, without money, so the price has no effect"
    if is_embedded(home, after.node.network):
        return "serves this machine on a test chain of its own, whose money is worth nothing"
    return "serves the network for money"


def _next_step(*, runs: bool, restart: bool) -> str:
    if restart:
        return "`openledger-node stop`, then `openledger-node start`"
    return "`openledger-node status`, the node is running" if runs else "`openledger-node start`"


def _check_base(home: Home, base: str) -> None:
    """Check that a base is on this machine or may be on the hub.

    Raises:
        ConfigError: neither is possible.
        ModelError: it names a GGUF file or another program's store, and there is no such model.
    """
    folder = Path(base).expanduser()
    if "/" in base and folder.is_dir():
        if not (folder / "config.json").exists():
            raise ConfigError(f"{folder} is not a base model: it has no config.json")
        return
    is_known = base in (DEMO_BASE_NAME, FAKE_BASE_NAME) or base_here(home, base)
    if is_known or locate(base) or read_hub_gguf(base):
        return
    if not HUB_NAME.fullmatch(hub_name(base)):
        raise ConfigError(
            f"no base is called {base!r} here: give {DEMO_BASE_NAME}, OWNER/NAME of the Hugging Face hub, "
            "a folder, a GGUF file, or a name from `openledger-node models list`"
        )


def _check_network(home: Home, network: str) -> None:
    """Check that a network can be joined.

    Raises:
        ConfigError: it is not a network.
        NetworkError: its file can't be downloaded.
        ChainError: its chain does not answer, or is a different chain.
    """
    if network in (DEVELOPMENT, LOCAL_NETWORK) or home.network_file(network).exists():
        return
    if not network.startswith(("http://", "https://")) and not Path(network).is_file():
        raise ConfigError(
            f"{network!r} is not a network: give {DEVELOPMENT}, {LOCAL_NETWORK}, or the FILE or URL#sha256=HASH of a "
            "network.json"
        )
    fetch_network(network)


def _check_quantisation(quantisation: str) -> None:
    """Check that a quantisation is one of those that the setting takes.

    Raises:
        ConfigError: it is not; the message lists them.
    """
    about: Setting = InferenceConfig.__dataclass_fields__["quantisation"].metadata["setting"]
    checked("inference.quantisation", "--quantisation", quantisation, str, about)


def _check_price(market: MarketConfig, price: str) -> None:
    """Check that a price can be set.

    Raises:
        InputError: the price is not an amount, or is too large.
        ConfigError: the price is out of bounds.
    """
    if price == NO_PRICE:
        return
    try:
        wei = wei_of(price)
    except InputError as error:
        raise InputError(f"{error}, or {NO_PRICE} to serve nothing") from error
    changed_market(market, {"price_wei": wei})
