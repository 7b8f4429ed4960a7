"""Weighted sets: which set a request means, and what is refused."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.peft_folders import write_adapter

from openledger_node.home import Home
from openledger_node.models.adapters import Adapter, add_adapter, find_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.serving.weighted import check_for_sale, weighted_source
from openledger_protocol.errors import MalformedError, UnknownModelError
from openledger_protocol.inference import InferenceRequest, SamplingParams, WeightedAdapter
from openledger_protocol.primitives import RequestId


@pytest.fixture
def adapters(tmp_path: Path) -> list[Adapter]:
    home = Home(tmp_path / "home")
    names = ("harbour", "forest")
    return [
        add_adapter(home, write_adapter(tmp_path / name, seed=seed), FAKE_BASE, name=name)
        for seed, name in enumerate(names)
    ]


def asking(*weighted: tuple[str, float], **sampling: Any) -> InferenceRequest:
    params = SamplingParams(**{"max_tokens": 1, "seed": 0, **sampling})
    named = tuple(WeightedAdapter(name=name, weight=weight) for name, weight in weighted)
    return InferenceRequest(request_id=RequestId("r"), model="fake", prompt="", sampling=params, adapters=named)


def test_a_set_is_its_adapters_and_their_weights_in_any_order(adapters: list[Adapter]) -> None:
    one = weighted_source(asking(("harbour", 0.75), ("forest", -0.25)), partial(find_adapter, adapters))
    assert one == weighted_source(
        asking(("forest", -0.25), (adapters[0].full_name, 0.75)), partial(find_adapter, adapters)
    )
    assert {part.folder: part.weight for part in one.parts} == {
        str(adapters[0].folder): 0.75,
        str(adapters[1].folder): -0.25,
    }


def test_other_weights_or_adapters_are_another_set(adapters: list[Adapter]) -> None:
    asked = [
        asking(("harbour", 0.5)),
        asking(("harbour", 0.25)),
        asking(("forest", 0.5)),
        asking(("harbour", 0.5), ("forest", 0.5)),
        asking(("harbour", 0.5), ("forest", 0.25)),
    ]
    ids = {weighted_source(request, partial(find_adapter, adapters)).id for request in asked}
    assert len(ids | {adapter.id for adapter in adapters}) == 7


def test_one_adapter_that_counts_whole_is_that_adapter(adapters: list[Adapter]) -> None:
    assert weighted_source(asking(("forest", 1)), partial(find_adapter, adapters)).id == adapters[1].id


@pytest.mark.parametrize("weight", [4.001, -4.001, float("nan"), float("inf")])
def test_a_weight_out_of_bounds_is_refused(adapters: list[Adapter], weight: float) -> None:
    with pytest.raises(MalformedError, match="must be from -4 to 4"):
        weighted_source(asking(("harbour", weight)), partial(find_adapter, adapters))


def test_an_adapter_counts_once(adapters: list[Adapter]) -> None:
    with pytest.raises(MalformedError, match="twice"):
        weighted_source(asking(("harbour", 1), (adapters[0].full_name, 1)), partial(find_adapter, adapters))
    with pytest.raises(MalformedError, match="at most 8"):
        weighted_source(asking(*[("harbour", 1.0)] * 9), partial(find_adapter, adapters))
    with pytest.raises(UnknownModelError, match="nobody"):
        weighted_source(asking(("nobody", 1)), partial(find_adapter, adapters))


def test_what_only_this_machine_gives_is_not_asked_of_others() -> None:
    check_for_sale(asking(json_schema="{}", frequency_penalty=1))
    with pytest.raises(MalformedError, match="a receipt names one adapter"):
        check_for_sale(asking(("harbour", 1)))
    with pytest.raises(MalformedError, match="logprobs"):
        check_for_sale(asking(logprobs=0))
    with pytest.raises(MalformedError, match="logprobs"):  # as `echo` with logprobs asks, which the client sees
        check_for_sale(replace(asking(logprobs=0), prompt_ids=(1,)))
    with pytest.raises(MalformedError, match="leave out ignore_eos"):
        check_for_sale(replace(asking(), ignores_end=True))
