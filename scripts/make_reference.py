"""Write docs/reference/{cli,config,metrics,cards}.md, openapi.json, `cli/commands.json` and the README's table.

Run `python scripts/make_reference.py`. A test compares the files with the output of this script, so that pages and
help always match the program.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from typer.main import get_command

from openledger_node.api.app import build_api
from openledger_node.api.bootstrap_metrics import BOOTSTRAP_METRICS
from openledger_node.api.exposition import Family, MetricTable
from openledger_node.api.metrics import NODE_METRICS
from openledger_node.cli.app import build_app
from openledger_node.cli.command_tree import PROGRAM, TREE_FILE, Command, Parameter
from openledger_node.cli.help_text import HELP_OPTION, ROOT_OPTIONS, explain, usage
from openledger_node.config import TABLES, InferenceConfig
from openledger_node.engine.base_fit import FITS_TOKENS, Room, forms_of
from openledger_node.engine.budget import PLAN_RANK, MemoryPlan
from openledger_node.models.known_bases import KNOWN_BASES, KnownBase
from openledger_node.setting import Setting

ROOT = Path(__file__).resolve().parent.parent
GIB = 1 << 30
CARDS_GIB = (8, 12, 16, 24)
RESERVED_BYTES = GIB
LISTED_PARAMETERS = (3 * 10**9, 15 * 10**9)
DEFAULTS = InferenceConfig()
METAVARS = {int: "N", float: "NUMBER", Path: "FILE"}
"""The word for a value in the help, by its type; otherwise the option's own name."""

WHAT_WORKS = ROOT / "docs" / "what-works.toml"
WHAT_WORKS_MARKS = ("<!-- written from docs/what-works.toml -->\n", "<!-- end of docs/what-works.toml -->\n")

COMMON_FROM = 10
"""An option that this many commands have, with the same words, is explained once."""

KINDS = {str: "text", int: "integer", float: "number", bool: "true or false"}

CLI_HEAD = """\
# Command line

All commands. `scripts/make_reference.py` writes this page from the code. See also [exit codes](exit-codes.md) ·
[settings](config.md) · [the JSON of `--json`](formats.md).

Data goes to stdout. Progress, warnings and errors go to stderr. `--home` goes before the command:
`openledger-node --home FOLDER status`. `NO_COLOR=1` turns off colours. `openledger-node help wallet` shows the help
of `wallet`, and so does `-h` or `--help` after any command.
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

BOOTSTRAP_METRICS_HEAD = """\

## Of a bootstrap node

[`openledger-node network bootstrap`](../how-to/run-a-bootstrap-node.md#monitoring) serves these at
`http://127.0.0.1:4002/metrics`, or where `--metrics` says. No key is needed. All start at 0 with the process.

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
node does not start, and the exit code is 3. `openledger-node config show` shows values and sources.
"""


def main() -> None:
    for name, text in render_reference().items():
        (ROOT / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(text.splitlines())} lines")


def render_reference() -> dict[str, str]:
    """Return the content of every generated file by its path in the repository."""
    commands = command_of(get_command(build_app()), PROGRAM)
    return {
        TREE_FILE.relative_to(ROOT).as_posix(): render_tree(commands),
        "docs/reference/cli.md": render_cli(commands),
        "docs/reference/config.md": render_config(),
        "docs/reference/metrics.md": render_metrics(),
        "docs/reference/openapi.json": render_openapi(),
        "docs/reference/cards.md": render_cards(),
        "README.md": render_readme(),
    }


def render_readme() -> str:
    """Render the README with its table of what works and what is missing."""
    begin, end = WHAT_WORKS_MARKS
    head, rest = (ROOT / "README.md").read_text(encoding="utf-8").split(begin)
    rows = tomllib.loads(WHAT_WORKS.read_text(encoding="utf-8"))
    works = [f"| {row['what']} | {_proofs(row)} |" for row in rows["works"]]
    missing = [f"- {row['what']}" for row in rows["not_yet"]]
    table = ["", "| works in 0.1 | by |", "|---|---|", *works, "", "Not yet:", "", *missing, "", ""]
    return head + begin + "\n".join(table) + end + rest.split(end)[1]


def _proofs(row: dict[str, Any]) -> str:
    return " · ".join(f"`{name}`" for name in (*row.get("commands", ()), *row.get("routes", ())))


# ---- The tree of commands, from typer's


def render_tree(commands: Command) -> str:
    """Render the content of commands.json, which `--help` and completion read."""
    return json.dumps(_without_defaults(commands), indent=1, ensure_ascii=False) + "\n"


def command_of(found: Any, path: str, panel: str = "") -> Command:
    """Convert a command of typer, and those below it."""
    below = [each for each in getattr(found, "commands", {}).values() if not each.hidden]
    return Command(
        path=path,
        help="\n\n".join(" ".join(part.split()) for part in (found.help or "").split("\n\n")),
        panel=panel,
        parameters=tuple(_parameter(each) for each in found.params if not each.hidden),
        commands=tuple(command_of(each, f"{path} {each.name}", each.rich_help_panel or "") for each in below),
    )


def _parameter(found: Any) -> Parameter:
    is_option = found.param_type_name == "option"
    is_flag = is_option and found.is_flag
    hint = found.type_descriptor.annotation
    if get_origin(hint) is list:
        (hint,) = get_args(hint)
    choices = tuple(map(str, _choices(hint)))
    metavar = found.metavar or "|".join(choices) or METAVARS.get(hint) or found.name.upper()
    is_repeated = found.multiple or found.nargs != 1
    return Parameter(
        names=tuple(found.opts) if is_option else (metavar,),
        off=found.secondary_opts[0] if is_flag and found.secondary_opts else "",
        metavar=metavar if is_option and not is_flag else "",
        help=found.help or "",
        default=_default(found, is_flag=is_flag),
        bounds=_bounds(getattr(found, "min", None), getattr(found, "max", None)),
        variable=found.envvar or "",
        is_required=found.required,
        is_repeated=is_repeated,
        choices=choices,
    )


def _choices(hint: Any) -> Iterable[Any]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return hint if isinstance(hint, type) and issubclass(hint, StrEnum) else ()


def _default(found: Any, *, is_flag: bool) -> str:
    if is_flag:
        has_default = found.secondary_opts and found.default is not None
        return (found.opts if found.default else found.secondary_opts)[0] if has_default else ""
    return "" if found.default in (None, "") else str(found.default)


def _without_defaults(value: Any) -> Any:
    """Convert a command to JSON, without the fields that have their default."""
    if isinstance(value, Command | Parameter):
        usual = {spec.name: spec.default for spec in fields(value)}
        found = {name: getattr(value, name) for name in usual}
        return {name: _without_defaults(each) for name, each in found.items() if each != usual[name]}
    return [_without_defaults(each) for each in value] if isinstance(value, tuple) else value


def render_cli(commands: Command) -> str:
    """Render one section per command, in the order of `--help`."""
    options = (*commands.options, *ROOT_OPTIONS, HELP_OPTION)
    leaves = [command for command in commands.walk() if not command.commands]
    counts = Counter(option for command in leaves for option in command.options)
    common = [option for option, count in counts.most_common() if count >= COMMON_FROM]
    sections = [f"## Options of the program\n\n{_table('option', options)}"]
    sections += [f"## Options of many commands\n\n{_table('option', common)}"]
    sections += [_section(command, common) for command in leaves]
    return "\n".join([CLI_HEAD, *sections])


def render_config() -> str:
    """Render one section per table of node.toml."""
    return "\n".join([CONFIG_HEAD, *(_config_section(table, cls) for table, cls in TABLES.items())])


def render_metrics() -> str:
    """Render one row per metric family of a node, and of a bootstrap node."""
    return METRICS_HEAD + _metric_table(NODE_METRICS) + BOOTSTRAP_METRICS_HEAD + _metric_table(BOOTSTRAP_METRICS)


def _metric_table(table: MetricTable) -> str:
    head = ["| metric | type | labels | |", "|---|---|---|---|"]
    return "\n".join([*head, *(_metric_row(table.prefix, family) for family in table.families), ""])


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


def _metric_row(prefix: str, family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{prefix}{family.name}` | {family.kind} | {labels} | {family.help} |"


def _section(command: Command, common: Sequence[Parameter]) -> str:
    own = [option for option in command.options if option not in common]
    shared = " · ".join(_names(option) for option in command.options if option in common)
    tables = [_table("argument", command.arguments), _table("option", own)]
    also = shared and f"Also {shared} ([options of many commands](#options-of-many-commands)).\n"
    head = f"## {command.path}\n\n{command.help}\n\n```\n{' '.join(usage(command))}\n```\n"
    return "\n".join([head, *filter(None, [*tables, also])])


def _table(kind: str, parameters: Sequence[Parameter]) -> str:
    rows = [_row(parameter) for parameter in parameters]
    return "\n".join([f"| {kind} | |", "|---|---|", *rows, ""]) if rows else ""


def _row(parameter: Parameter) -> str:
    return f"| {_names(parameter)} | {explain(parameter)} |"


def _names(parameter: Parameter) -> str:
    names = [f"`{name}`" for name in (*parameter.names, parameter.off) if name]
    names[0] = f"`{' '.join(filter(None, (parameter.names[0], parameter.metavar)))}`".replace("|", "\\|")
    return ", ".join(names)


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
