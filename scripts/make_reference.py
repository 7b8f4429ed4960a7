"""Write docs/reference/{cli,config,metrics,cards}.md and openapi.json: `python scripts/make_reference.py`.

A test compares the files with the output of this script, so that the pages always match the program.
"""

import json
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

from typer.main import get_command

from openledger_node.api.app import build_api
from openledger_node.api.exposition import PREFIX, Family
from openledger_node.api.metrics import FAMILIES
from openledger_node.cli.main import app
from openledger_node.config import TABLES, InferenceConfig
from openledger_node.engine.base_fit import FITS_TOKENS, Room, forms_of
from openledger_node.engine.budget import PLAN_RANK, MemoryPlan
from openledger_node.models.known_bases import KNOWN_BASES, KnownBase
from openledger_node.setting import Setting

PROGRAM = "openledger-node"
REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
GIB = 1 << 30
CARDS_GIB = (8, 12, 16, 24)
RESERVED_BYTES = GIB
LISTED_PARAMETERS = (3 * 10**9, 15 * 10**9)
DEFAULTS = InferenceConfig()
KINDS = {str: "text", int: "integer", float: "number", bool: "true or false"}

CLI_HEAD = """\
# Command line

All commands. `scripts/make_reference.py` writes this page from the code. See also [exit codes](exit-codes.md) ·
[settings](config.md) · [the JSON of `--json`](formats.md).

Data goes to stdout. Progress, warnings and errors go to stderr. `--home` goes before the command:
`openledger-node --home FOLDER status`. `NO_COLOR=1` turns off colours.
"""

METRICS_HEAD = """\
# Metrics

`GET /metrics` returns these metrics in Prometheus' text format. The request needs the API key.
`scripts/make_reference.py` writes this page from the code. A scrape configuration:

```yaml
scrape_configs:
  - job_name: openledger
    authorization:
      credentials_file: /path/to/the/home/keys/api.key
    static_configs:
      - targets: ["127.0.0.1:8420"]
```

Counters start at 0 with the daemon, and those of engine and adapters with the engine. Money metrics are read from the
ledger. No metric contains a text, an adapter's name, a peer id or an address. Amounts of OPEN are rounded to a
floating-point number. `openledger-node earnings` has them to the wei. A family without values is left out, such as
money on a node without a network.

"""

CARDS_HEAD = f"""\
# Cards and bases

The bases that fit common cards, from the plan by which the engine divides its memory (`engine/memory_plan.py`).
`scripts/make_reference.py` writes this page. The figures are arithmetic on the published sizes of each base. None of
them was measured on a card.

The table is that of the engine's own kernels, which run on NVIDIA and AMD cards under Linux where Triton is
([why, and what they need](../decisions/0042-the-gpu-path-is-a-faster-torch-lora.md)). On plain torch an adapter takes
three times as much of the card while it is used, so a third as many stay there.

A cell has the tokens of context for all requests together, and the adapters of rank {PLAN_RANK} on all linear maps
that stay on the card beside them. The plan leaves 1 GiB of each card to its driver and a desktop, and allows
{DEFAULTS.batch_max} requests at once, each with up to `[inference] context_max` tokens. The column `base` has the
size of the base as it is loaded, in 10^9 bytes. "No" means that there is no room for {FITS_TOKENS:,} tokens and an
adapter. A node can serve more adapters than stay on the card, because it loads them as they are needed.

`openledger-node models pull` and `setup` print the same for your card and any base, before they download it
([does it fit?](../how-to/choose-a-base.md#does-it-fit)).

"""

CONFIG_HEAD = """\
# Settings

All settings. `scripts/make_reference.py` writes this page from the code. [Settings](../how-to/settings.md) shows how
to change one.

A flag overrides an environment variable, which overrides `node.toml` in the data directory, which overrides the
default. The variable of `[table] key` is `OPENLEDGER_TABLE_KEY`. With an unknown key or a value out of bounds, the
node does not start, and the exit code is 3. `openledger-node config show --origin` shows values and sources.
"""


def main() -> None:
    for name, text in render_reference().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"docs/reference/{name}: {len(text.splitlines())} lines")


def render_reference() -> dict[str, str]:
    """Return the content of every generated page by file name."""
    return {
        "cli.md": render_cli(),
        "config.md": render_config(),
        "metrics.md": render_metrics(),
        "openapi.json": render_openapi(),
        "cards.md": render_cards(),
    }


def render_cli() -> str:
    """Render one section per command, in the order of `--help`."""
    root = get_command(app)
    sections = [f"## Flags of every command\n\n{_table('option', root)}"]
    sections += [_section(path, command) for path, command in walk(root) if not is_group(command)]
    return "\n".join([CLI_HEAD, *sections])


def walk(command: Any, path: str = PROGRAM) -> Iterator[tuple[str, Any]]:
    """Yield `command` and every command below it, each with the words that call it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from walk(below, f"{path} {name}")


def is_group(command: Any) -> bool:
    """Return True for a group of commands."""
    return hasattr(command, "commands")


def render_config() -> str:
    """Render one section per table of node.toml."""
    return "\n".join([CONFIG_HEAD, *(_config_section(table, cls) for table, cls in TABLES.items())])


def render_metrics() -> str:
    """Render one row per metric family."""
    head = ["| metric | type | labels | |", "|---|---|---|---|"]
    return METRICS_HEAD + "\n".join([*head, *map(_metric_row, FAMILIES), ""])


def render_openapi() -> str:
    """Render the content of /openapi.json."""

    async def no_metrics() -> str:
        return ""

    api: Any = build_api(Any, Any, key="", body_bytes_max=0, metrics=no_metrics)  # type: ignore[arg-type]
    return json.dumps(api._app.openapi(), indent=1, ensure_ascii=False) + "\n"


def render_cards() -> str:
    """Render one row per base and quantisation, and one column per card."""
    names = " | ".join(f"{gib} GB" for gib in CARDS_GIB)
    head = [f"| | quantisation | base | {names} |", f"|---|---|---|{'---|' * len(CARDS_GIB)}"]
    listed = [base for base in KNOWN_BASES if LISTED_PARAMETERS[0] <= base.num_parameters <= LISTED_PARAMETERS[1]]
    return CARDS_HEAD + "\n".join([*head, *(row for base in listed for row in _base_rows(base)), ""])


def _base_rows(base: KnownBase) -> Iterator[str]:
    cards = [Room(size_bytes=gib * GIB - RESERVED_BYTES, on_gpu=True, has_kernels=True) for gib in CARDS_GIB]
    forms = zip(*(forms_of(base.config, DEFAULTS, card) for card in cards), strict=True)
    for number, form in enumerate(forms):
        name = f"`{base.name}`" if number == 0 else ""
        cells = " | ".join(_cell(each.plan) for each in form)
        yield f"| {name} | `{form[0].quantisation}` | {form[0].base_bytes / 1e9:.1f} GB | {cells} |"


def _cell(plan: MemoryPlan | None) -> str:
    if plan is None:
        return "no"
    adapters = "1 adapter" if plan.num_adapters == 1 else f"{plan.num_adapters} adapters"
    return f"{plan.kv_tokens // 100 * 100:,}, {adapters}"


def _metric_row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{PREFIX}{family.name}` | {family.kind} | {labels} | {family.help} |"


def _section(path: str, command: Any) -> str:
    usage = " ".join([path, *_usage(command)])
    about = "\n\n".join(" ".join(part.split()) for part in command.help.split("\n\n"))
    tables = [_table(kind, command) for kind in ("argument", "option")]
    return "\n".join([f"## {path}\n\n{about}\n\n```\n{usage}\n```\n", *filter(None, tables)])


def _usage(command: Any) -> Iterator[str]:
    if any(_kind(param) == "option" for param in command.params):
        yield "[OPTIONS]"
    for param in command.params:
        if _kind(param) == "argument":
            yield param.name.upper() if param.required else f"[{param.name.upper()}]"


def _table(kind: str, command: Any) -> str:
    rows = [_row(param) for param in command.params if _kind(param) == kind]
    return "\n".join([f"| {kind} | | default |", "|---|---|---|", *rows, ""]) if rows else ""


def _row(param: Any) -> str:
    names = [*param.opts, *param.secondary_opts] if _kind(param) == "option" else [param.name.upper()]
    shown = ", ".join(f"`{name}`" for name in names)
    bounds = _bounds(getattr(param, "min", None), getattr(param, "max", None))
    about = [param.help, bounds and f"({bounds})", f"Environment: `{param.envvar}`." if param.envvar else ""]
    return f"| {shown} | {' '.join(filter(None, about))} | {_default(param)} |"


def _default(param: Any) -> str:
    if param.required:
        return "required"
    if getattr(param, "is_flag", False):
        if param.secondary_opts:
            return f"`{(param.opts if param.default else param.secondary_opts)[0]}`"
        return "off"
    return "" if param.default is None else f"`{param.default}`"


def _kind(param: Any) -> str:
    kind: str = param.param_type_name
    return kind


def _config_section(table: str, cls: type) -> str:
    hints = get_type_hints(cls)
    head = [f"## [{table}]\n\n{cls.__doc__}\n", "| key | | value | default |", "|---|---|---|---|"]
    return "\n".join([*head, *(_config_row(spec, hints[spec.name]) for spec in fields(cls)), ""])


def _config_row(spec: "Field[Any]", hint: type) -> str:
    about: Setting = spec.metadata["setting"]
    values = " · ".join(f"`{choice}`" for choice in about.choices()) if about.choices else KINDS[hint]
    default = f'"{spec.default}"' if hint is str else str(spec.default)
    bounds = _bounds(about.low, about.high)
    return f"| `{spec.name}` | {about.help} | {values}{bounds and f', {bounds}'} | `{default}` |"


def _bounds(low: float | None, high: float | None) -> str:
    """Describe the bounds of a number; empty if there are none."""
    least = "" if low is None else f"from {low:,.10g}"
    most = "" if high is None else f"to {high:,.10g}"
    return f"{least} {most}".strip()


if __name__ == "__main__":
    main()
