"""Which bases fit which card: what is proposed, in which quantisation, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from openledger_node.card import Card, TorchBuild
from openledger_node.config import Config, InferenceConfig, LimitsConfig
from openledger_node.engine import base_fit, budget
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.base_fit import FORMS, Form, Room, choose_form, forms_of, propose, room_on, usual_form
from openledger_node.engine.budget import MemoryPlan, needs_of
from openledger_node.engine.kernel_verdict import KernelVerdict, keep_verdict
from openledger_node.machine import Machine
from openledger_node.models.decoder_config import config_from
from openledger_node.models.known_bases import KNOWN_BASES, KnownBase, known_base
from openledger_protocol.constants import DEMO_BASE_NAME

GB, GIB = 10**9, 1 << 30
INFERENCE, LIMITS = InferenceConfig(), LimitsConfig()
CUDA = TorchBuild("2.13.0", "13.0", None)
FOUR = FORMS[-1]
WANTED = BackendSettings(base_folder=None, device="auto", dtype="auto", threads=0, batch_max=16, context_max=2048)


def card_room(gib: int) -> Room:
    """A card of which the driver and the desktop use 1 GiB."""
    return Room(size_bytes=(gib - 1) * GIB, on_gpu=True)


def write_config(folder: Path, name: str) -> None:
    base = known_base(name)
    (folder / "config.json").write_text(json.dumps(base.fields))


@pytest.mark.parametrize(
    ("gib", "base", "quantisation"),
    [
        (4, "HuggingFaceTB/SmolLM2-360M-Instruct", "none"),
        (8, "Qwen/Qwen3-4B-Instruct-2507", FOUR),
        (24, "Qwen/Qwen3-14B", "int8"),
        (48, "Qwen/Qwen3-32B", "int8"),
    ],
)
def test_the_largest_base_with_room_for_several_adapters_is_proposed(gib: int, base: str, quantisation: str) -> None:
    found = propose(INFERENCE, card_room(gib))
    form = choose_form(forms_of(found.config, INFERENCE, card_room(gib)), INFERENCE.quantisation)
    assert (found.name, form.quantisation, form.is_roomy) == (base, quantisation, True)
    assert found.is_open, "a base that only an account may download is never proposed"


def test_a_card_on_which_nothing_is_roomy_gets_what_fits_at_all() -> None:
    for size_bytes in (1_150 * 10**6, GB // 8):
        assert propose(INFERENCE, Room(size_bytes=size_bytes, on_gpu=True)).name == DEMO_BASE_NAME


@pytest.mark.parametrize(
    ("ram_gib", "base"),
    [(1, DEMO_BASE_NAME), (4, "HuggingFaceTB/SmolLM2-360M-Instruct"), (64, "HuggingFaceTB/SmolLM2-360M-Instruct")],
)
def test_a_machine_without_a_card_is_proposed_what_answers_as_fast_as_people_read(ram_gib: int, base: str) -> None:
    room = room_on(Machine(ram_bytes=ram_gib * GIB), INFERENCE, LIMITS)
    assert propose(INFERENCE, room).name == base
    assert (room.on_gpu, room.size_bytes) == (False, ram_gib * GIB * 3 // 4)


@pytest.mark.parametrize("base", KNOWN_BASES[::3], ids=lambda base: base.name)
@pytest.mark.parametrize("on_gpu", [True, False])
def test_more_memory_never_leaves_less_and_a_narrower_form_never_takes_more(base: KnownBase, on_gpu: bool) -> None:
    before: list[MemoryPlan | None] = [None] * len(FORMS)
    for gib in range(1, 64, 3):
        forms = forms_of(base.config, INFERENCE, Room(size_bytes=gib * GIB, on_gpu=on_gpu))
        assert [form.takes_bytes for form in forms] == sorted((form.takes_bytes for form in forms), reverse=True)
        for form, earlier in zip(forms, before, strict=True):
            if form.plan is None:
                assert earlier is None
                continue
            assert form.takes_bytes <= gib * GIB
            assert earlier is None or form.plan.kv_tokens >= earlier.kv_tokens
        before = [form.plan for form in forms]


def form(quantisation: str, tokens: int, adapters: int = 8) -> Form:
    plan = MemoryPlan(base_bytes=GB, context=2_048, kv_tokens=tokens, num_adapters=adapters) if tokens else None
    return Form(quantisation=quantisation, base_bytes=GB, takes_bytes=2 * GB, plan=plan)


@pytest.mark.parametrize(
    ("tokens", "usual", "taken"),
    [
        ((9_000, 9_000, 9_000), "none", "none"),
        ((9_000, 9_000, 9_000), FOUR, FOUR),  # the owner's own setting stays
        ((0, 9_000, 12_000), "none", "int8"),
        ((3_000, 9_000, 12_000), "none", "int8"),  # it fits, but a narrower one leaves room
        ((0, 3_000, 4_000), "none", FOUR),  # none is roomy: the one with the most
        ((0, 0, 4_000), "int8", FOUR),
        ((0, 0, 0), "none", None),
    ],
)
def test_the_widest_form_that_leaves_room_is_taken(tokens: tuple[int, ...], usual: str, taken: str | None) -> None:
    forms = [form(quantisation, each) for quantisation, each in zip(FORMS, tokens, strict=True)]
    found = choose_form(forms, usual)
    assert (found.quantisation if found else None) == taken


def test_the_driver_and_other_programs_and_the_owners_limit_leave_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(vendor="nvidia", name="RTX 3060", total_bytes=12 * GB, taken_bytes=GB, driver="580.1")
    machine = Machine(ram_bytes=32 * GB, card=card, torch=CUDA)
    for has_kernels in (False, True):
        monkeypatch.setattr(base_fit, "runs_kernels", lambda *_, found=has_kernels: found)
        room = Room(size_bytes=11 * GB, on_gpu=True, has_kernels=has_kernels)
        assert room_on(machine, INFERENCE, LIMITS) == room
    assert room_on(machine, INFERENCE, LimitsConfig(vram_bytes=6 * GB)).size_bytes == 6 * GB
    assert room_on(machine, INFERENCE, LimitsConfig(vram_bytes=16 * GB)).size_bytes == 11 * GB
    on_cpu = room_on(machine, replace(INFERENCE, device="cpu"), LimitsConfig(ram_bytes=5 * GB))
    assert on_cpu == Room(size_bytes=5 * GB, on_gpu=False)
    unusable = replace(machine, torch=TorchBuild("2.13.0+cpu", None, None))
    assert not room_on(unusable, INFERENCE, LIMITS).on_gpu


def test_an_automatic_context_follows_the_last_self_check_of_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, "Qwen/Qwen3-8B")
    card = Card(vendor="nvidia", name="RTX", total_bytes=22 * GB, taken_bytes=0, driver="580.1")
    monkeypatch.setattr(base_fit, "look_at_machine", lambda: Machine(ram_bytes=32 * GB, card=card, torch=CUDA))
    monkeypatch.setattr(budget, "missing_for_kernels", lambda: None)
    config = replace(Config(), inference=replace(INFERENCE, context_max=0))

    def planned(fault: str) -> int:
        keep_verdict(tmp_path, KernelVerdict(key="", tested="RTX", fault=fault))
        return base_fit.context_here(config, tmp_path, "torch_lora", cache=tmp_path)

    untested = base_fit.context_here(config, tmp_path, "torch_lora", cache=tmp_path)
    assert planned("") == untested
    assert planned("wrong sums") < untested


def test_a_base_whose_files_are_narrow_is_served_as_it_is_stored() -> None:
    base = known_base("Qwen/Qwen3-8B")
    awq = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}}
    forms = forms_of(config_from(Path("acme/awq"), {**base.fields, **awq}), INFERENCE, card_room(8))
    assert [(form.quantisation, form.plan is None) for form in forms] == [("none", True), ("auto", False)]
    assert (choose_form(forms, "auto") is forms[1], usual_form(forms, "auto")) == (True, "auto")
    wide = forms_of(base.config, INFERENCE, card_room(48))
    assert usual_form(wide, "auto") == "none", "files that are wide are served so"


def here(
    monkeypatch: pytest.MonkeyPatch,
    card: Card | None,
    folder: Path,
    *,
    has_kernels: bool,
    held_bytes: int = 0,
    **limits: int,
) -> tuple[BackendSettings, int]:
    machine = Machine(ram_bytes=32 * GB, card=card, torch=CUDA)
    monkeypatch.setattr(base_fit, "look_at_machine", lambda: machine)
    monkeypatch.setattr(base_fit, "is_on_gpu", lambda _: True)
    monkeypatch.setattr(base_fit, "runs_kernels", lambda *_: has_kernels)
    config = replace(Config(), inference=INFERENCE, limits=LimitsConfig(**limits))
    return base_fit.fit_here(WANTED, config, folder, held_bytes=held_bytes)


@pytest.mark.parametrize("has_kernels", [False, True])
def test_without_a_limit_the_engine_takes_what_others_leave_of_the_card_and_no_more_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_kernels: bool
) -> None:
    write_config(tmp_path, "Qwen/Qwen3-4B-Instruct-2507")
    needs = needs_of(tmp_path, INFERENCE, on_gpu=True, has_kernels=has_kernels)
    card = Card(vendor="nvidia", name="RTX", total_bytes=24 * GB, driver="580.1")
    roomy, adapter_bytes = here(monkeypatch, card, tmp_path, has_kernels=has_kernels)
    assert (roomy.kv_cache_bytes, adapter_bytes) == (needs.full_kv_bytes, INFERENCE.adapter_cache_bytes)
    assert roomy.device_bytes_max == 0, "only the owner's limit is enforced"
    busy = replace(card, taken_bytes=12 * GB)
    tight, adapter_bytes = here(monkeypatch, busy, tmp_path, has_kernels=has_kernels)
    assert tight.adapter_bytes == adapter_bytes
    taken_bytes = (1 if has_kernels else 3) * adapter_bytes
    assert needs.fixed_bytes + tight.kv_cache_bytes + taken_bytes <= 12 * GB
    assert 0 < tight.kv_cache_bytes < needs.full_kv_bytes
    owned, _ = here(monkeypatch, busy, tmp_path, has_kernels=has_kernels, vram_bytes=20 * GB)
    assert owned.device_bytes_max == 20 * GB
    assert owned.kv_cache_bytes > needs.full_kv_bytes


def test_the_engine_that_runs_leaves_its_memory_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, "Qwen/Qwen3-4B-Instruct-2507")
    empty = Card(vendor="nvidia", name="RTX", total_bytes=16 * GB, taken_bytes=GB, driver="580.1")
    serving = replace(empty, taken_bytes=13 * GB)  # in a container the driver does not list the engine
    before = here(monkeypatch, empty, tmp_path, has_kernels=True)
    assert here(monkeypatch, serving, tmp_path, has_kernels=True, held_bytes=12 * GB) == before
    assert here(monkeypatch, serving, tmp_path, has_kernels=True) != before
