"""An adapter's card: a README.md with the metadata that model hubs read, written from its manifest."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from openledger_protocol.adapter import AdapterManifest

CARD_FILE: Final = "README.md"
ExportForm = Literal["peft", "merged", "gguf"]
FORMS: Final[Mapping[ExportForm, tuple[str, Sequence[str], str]]] = {
    "peft": ("peft", ("lora",), "A LoRA adapter for {base}, in PEFT format."),
    "merged": ("transformers", (), "The model {base} with a LoRA adapter merged into its weights."),
    "gguf": ("gguf", ("lora",), "A LoRA adapter for {base}, as a GGUF file for llama.cpp."),
}
"""The library of a form, which model hubs open it with, its tags, and its first sentence."""

TAUGHT_BY: Final = "## Taught by\n"
MARKED: Final = str.maketrans({letter: f"\\{letter}" for letter in "\\`*_{}[]<>#|"})
SETTINGS: Final = (
    "method", "rank", "alpha", "layers", "sites", "dropout", "learning_rate", "schedule", "warm_up_ppm",
    "weight_decay", "epochs", "batch_size", "tokens_max", "seed", "quantisation",
)  # fmt: skip
FIGURES: Final = (
    ("loss", "held-out loss"),
    ("rouge_l", "ROUGE-L"),
    ("exact", "exact match"),
    ("general_loss", "loss on a general set"),
)


def write_card_text(
    manifest: AdapterManifest, contributors: Mapping[str, int] | None = None, *, form: ExportForm = "peft"
) -> str:
    """Write the card; `contributors` maps those who taught the adapter to the numbers of their rows."""
    library, tags, sentence = FORMS[form]
    sections = [
        _metadata(manifest, library, tags),
        f"# {_plain(manifest.name)}\n\n{sentence.format(base=_plain(manifest.base.name))}\n",
        _facts(manifest),
        _taught_by(contributors),
        _training(manifest.training or {}),
        _evaluation(manifest.evaluation or {}),
    ]
    return "\n".join(section for section in sections if section)


def taught_by_of(card: str) -> dict[str, int]:
    """Read the contributors of a card that `write_card_text` wrote; none if it names none."""
    _, _, rest = card.partition(TAUGHT_BY)
    found = {}
    for line in rest.partition("\n## ")[0].splitlines():
        name, separator, count = line.removeprefix("- ").rpartition(": ")
        if separator and line.startswith("- ") and count.removesuffix(" rows").isdecimal():
            found[_unmarked(name)] = int(count.removesuffix(" rows"))
    return found


def _metadata(manifest: AdapterManifest, library: str, tags: Sequence[str]) -> str:
    """The front matter. Strings are written as JSON, which YAML reads as they are."""
    lines = {
        "base_model": manifest.base.name,
        "library_name": library,
        "pipeline_tag": "text-generation",
        "tags": [*tags, "openledger"],
    }
    if manifest.license:
        lines["license"] = manifest.license.lower()
    if manifest.datanets:
        lines["datasets"] = [f"{each.id}@{each.version}" for each in manifest.datanets]
    return "---\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items()) + "---\n"


def _facts(manifest: AdapterManifest) -> str:
    datanets = [
        f"- Datanet {_plain(each.id)}, version {_plain(each.version)}, root of its rows {each.rows_root}"
        for each in manifest.datanets or ()
    ]
    lines = [
        f"- base: {_plain(manifest.base.name)}, digest {manifest.base.digest}",
        f"- files: digest {manifest.artifact_digest}",
        f"- owner: {manifest.owner or 'none yet'}",
        f"- licence: {_plain(manifest.license or 'not stated')}",
        *datanets,
    ]
    return "\n".join(lines) + "\n"


def _taught_by(contributors: Mapping[str, int] | None) -> str:
    if not contributors:
        return ""
    ordered = sorted(contributors.items(), key=lambda each: (-each[1], each[0]))
    return TAUGHT_BY + "\n" + "".join(f"- {_plain(name)}: {rows} rows\n" for name, rows in ordered)


def _training(training: Mapping[str, Any]) -> str:
    config = training.get("config")
    if not isinstance(config, dict):
        return ""
    settings = "".join(f"| {name} | {_plain(str(config[name]))} |\n" for name in SETTINGS if name in config)
    made = ", ".join(
        f"{_plain(str(training[name]))} {label}"
        for name, label in (("rows", "rows"), ("steps", "steps"), ("started", "started"))
        if name in training
    )
    return f"## Training\n\n{made}\n\n| setting | value |\n|---|---|\n{settings}"


def _evaluation(evaluation: Mapping[str, Any]) -> str:
    losses = [
        f"held-out loss {evaluation[name]} {when}"
        for name, when in (("loss_before", "before"), ("loss_after", "after"))
        if isinstance(evaluation.get(name), int | float)
    ]
    if not losses:
        return ""
    rows = _plain(str(evaluation.get("rows")))
    text = f"## Evaluation\n\n{', '.join(losses)}, in nats per token of {rows} held-out rows\n"
    figures = evaluation.get("figures")
    if not isinstance(figures, dict):
        return text
    lines = [
        f"| {label} | {_plain(str(figures[name].get('base')))} | {_plain(str(figures[name].get('adapter')))} |\n"
        for name, label in FIGURES
        if isinstance(figures.get(name), dict)
    ]
    head = f"\n| on {_plain(str(figures.get('rows')))} of them | base | adapter |\n|---|---|---|\n"
    return text + head + "".join(lines)


def _plain(text: str) -> str:
    """Text of others as one line that Markdown shows as it is."""
    return "".join(letter if letter.isprintable() else " " for letter in text).translate(MARKED)


def _unmarked(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")
