"""The choice between wide weights and 4 bits, and its reason."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny import make_base

from openledger_node.errors import ConfigError
from openledger_node.factory.base_format import Needs, check_format, choose_format, config_of
from openledger_node.factory.estimate import Memory
from openledger_node.models.bases import FAKE_BASE, Base, describe_folder
from openledger_node.models.stored_format import StoredFormat

GB = 10**9
WIDE, NARROW = (Memory(base=base, activations=0, optimizer=0, adapter=0, runtime=GB) for base in (16 * GB, 5 * GB))
TRAINER = "peft_lora"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return describe_folder(make_base(tmp_path_factory.mktemp("format") / "tiny"))


@pytest.mark.parametrize(
    ("free_gb", "quantisation", "why"),
    [
        (17, "none", "with wide weights the training needs about 17.0 GB and 17.0 GB are free"),
        (16, "int4", "with wide weights the training would need about 17.0 GB and 16.0 GB are free"),
        (4, "int4", "17.0 GB and 4.0 GB are free, and in 4 bits it still needs 6.0 GB"),
    ],
)
def test_weights_stay_wide_if_they_fit(base: Base, free_gb: int, quantisation: str, why: str) -> None:
    needs = Needs(wide=WIDE, narrow=NARROW, free_bytes=free_gb * GB)
    for wanted in (None, "auto"):
        chosen = choose_format(wanted, config_of(base), needs, TRAINER)
        assert chosen.quantisation == quantisation
        assert chosen.why.endswith(why)


@pytest.mark.parametrize("method", ["awq", "gguf"])
def test_files_that_transformers_does_not_open_are_trained_on_in_4_bits(base: Base, method: str) -> None:
    """It opens those of a GGUF file, which are widened for it."""
    config = config_of(base)
    stored = replace(config, stored=StoredFormat(method=method, bits=4, group=128))
    needs = Needs(wide=WIDE, narrow=NARROW, free_bytes=100 * GB)
    assert choose_format(None, stored, needs, TRAINER).quantisation == ("int4" if method == "awq" else "none")


def test_a_trainer_or_base_without_such_a_form_is_left_alone_and_an_order_refused(base: Base, tmp_path: Path) -> None:
    needs = Needs(wide=WIDE, narrow=NARROW, free_bytes=GB)
    assert choose_format(None, config_of(base), needs, "fake").quantisation == "none"
    assert choose_format(None, config_of(FAKE_BASE), None, TRAINER).why is None
    other = replace(base, folder=tmp_path / "other")
    other.folder.mkdir()
    (other.folder / "config.json").write_text('{"model_type": "mamba"}')
    assert config_of(other) is None
    check_format("int4", base, TRAINER)
    for each, trainer, says in (
        (base, "fake", "the trainer fake can't keep a base in 4 bits: leave out --quantize"),
        (FAKE_BASE, TRAINER, "has no weights to keep in 4 bits"),
        (other, TRAINER, "because the engine does not read it"),
    ):
        check_format("auto", each, trainer)
        with pytest.raises(ConfigError, match=says):
            check_format("int4", each, trainer)


def test_an_order_for_wide_weights_of_narrow_files_is_refused_before_the_training(base: Base, tmp_path: Path) -> None:
    """The trainer's process died of an ImportError, because transformers wants a library for them."""
    folder = tmp_path / "narrow"
    folder.mkdir()
    fields = json.loads((base.folder / "config.json").read_text())
    fields["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}
    (folder / "config.json").write_text(json.dumps(fields))
    narrow = replace(base, folder=folder)
    with pytest.raises(ConfigError, match=r"\(awq\) only with libraries .*: leave out --quantize to keep them"):
        check_format("none", narrow, TRAINER)
    for wanted, trainer in ((None, TRAINER), ("auto", TRAINER), ("int4", TRAINER), ("none", "fake")):
        check_format(wanted, narrow, trainer)
    check_format("none", base, TRAINER)
