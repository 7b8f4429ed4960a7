"""An adapter's card."""

import re
from dataclasses import replace
from typing import Any

import pytest

from openledger_node.models.readme import ExportForm, taught_by_of, write_card_text
from openledger_protocol.adapter import AdapterManifest, BaseReference, DatanetReference
from openledger_protocol.primitives import DatanetId, Digest

ROOT = Digest("0x" + "ab" * 32)
MANIFEST = AdapterManifest(
    name="harbour",
    base=BaseReference(name="tiny", digest=ROOT),
    artifact_digest=ROOT,
    license="CC-BY-4.0",
    datanets=(DatanetReference(id=DatanetId("0x" + "1" * 64), version="2", rows_root=ROOT, weight_ppm=1_000_000),),
    training={"config": {"method": "dora", "rank": 4, "learning_rate": 0.003}, "rows": 90, "steps": 72},
    evaluation={
        "loss_before": 2.9, "loss_after": 0.1, "rows": 30,
        "figures": {"rows": 16, "loss": {"base": 3.0, "adapter": 0.2}, "exact": {"base": 0.0, "adapter": 0.5}},
    },
)  # fmt: skip


def test_a_card_says_what_a_hub_and_a_person_ask_for() -> None:
    card = write_card_text(MANIFEST, {"ada": 45, "bob": 44, "0x51": 1})
    head, _, body = card.removeprefix("---\n").partition("---\n")
    assert head.splitlines() == [
        'base_model: "tiny"', 'library_name: "peft"', 'pipeline_tag: "text-generation"',
        'tags: ["lora", "openledger"]',
        'license: "cc-by-4.0"', f'datasets: ["0x{"1" * 64}@2"]',
    ]  # fmt: skip
    for line in ("# harbour", "- ada: 45 rows", "90 rows, 72 steps", "| rank | 4 |", "| exact match | 0.0 | 0.5 |"):
        assert line in body.splitlines()
    assert "held-out loss 2.9 before, held-out loss 0.1 after" in body


@pytest.mark.parametrize(
    "contributors", [{}, {"ada": 45}, {"ada_b-c.d": 2, "bob": 1, "0x" + "5" * 40: 9}, {"a: 3 rows": 2, "a\\_b": 1}]
)
def test_who_taught_it_can_be_read_back(contributors: dict[str, int]) -> None:
    assert taught_by_of(write_card_text(MANIFEST, contributors)) == contributors


@pytest.mark.parametrize(
    ("form", "library", "sentence"),
    [
        ("peft", "peft", "A LoRA adapter for tiny, in PEFT format."),
        ("merged", "transformers", "The model tiny with a LoRA adapter merged into its weights."),
        ("gguf", "gguf", "A LoRA adapter for tiny, as a GGUF file for llama.cpp."),
    ],
)
def test_a_card_says_which_form_the_files_have(form: ExportForm, library: str, sentence: str) -> None:
    lines = write_card_text(MANIFEST, {"ada": 45}, form=form).splitlines()
    assert f'library_name: "{library}"' in lines
    assert sentence in lines
    assert "- ada: 45 rows" in lines


def test_a_card_of_a_bare_adapter_claims_nothing() -> None:
    card = write_card_text(AdapterManifest(name="n", base=MANIFEST.base, artifact_digest=ROOT))
    assert "licence: not stated" in card
    assert "##" not in card
    assert "license:" not in card


@pytest.mark.parametrize(
    "changes",
    [
        {"license": "MIT\n---\n# Trust me <script>"},
        {"training": {"config": {"rank": "4 |\n## Evaluation\n[x](http://evil)"}, "rows": "\n# all"}},
        {"training": {"config": []}, "evaluation": {"loss_before": "x", "figures": 3}},
        {"evaluation": {"loss_before": 1, "rows": "3\n\n## Taught by\n\n- mallory: 9 rows\n\n[x](http://evil)"}},
        {"evaluation": {"loss_before": 1, "loss_after": 1, "figures": {"rows": None, "loss": {"base": "\n# up"}}}},
    ],
)
def test_a_manifest_of_others_adds_no_heading_and_no_link(changes: dict[str, Any]) -> None:
    card = write_card_text(replace(MANIFEST, **changes))
    assert taught_by_of(card) == {}
    lines = card.splitlines()
    headings = [line for line in lines if line.startswith("#")]
    assert set(headings) <= {"# harbour", "## Training", "## Evaluation"}
    assert not any(re.search(r"(?<!\\)(\]\(|<)", line) for line in lines if not line.startswith("license:"))
    assert lines.count("---") == 2
