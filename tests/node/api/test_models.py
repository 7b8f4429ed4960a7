"""The list of models, as the programs read it that show it."""

from dataclasses import asdict

from support.apis import open_api

from openledger_node.api.answer_schemas import ModelList
from openledger_node.models.sampling_defaults import NEUTRAL


async def test_each_model_says_what_it_can_and_what_it_costs() -> None:
    async with open_api() as api, api.client() as client:
        paths = [f"/v1/models{path}" for path in ("", "/forest", "/nobody")]
        listed, found, missing = [await client.get(path, headers=api.key) for path in paths]
    base, harbour, forest = listed.json()["data"]
    assert [base["id"], base["parent"], base["root"], base["created"]] == ["fake", None, "fake", 1_700_000_000]
    assert [harbour["id"], harbour["parent"], harbour["root"]] == ["harbour", "fake", "fake"]
    assert base["context_length"] == base["max_model_len"] == 2_048
    can = {name for name, is_able in base["capabilities"].items() if is_able}
    assert can == {"tools", "parallel_tool_calls", "json_schema", "logprobs"}
    assert {"tools", "logprobs"} <= {*base["supported_parameters"]}
    assert base["default_parameters"] == forest["default_parameters"] == asdict(NEUTRAL)
    assert "price" not in harbour
    assert forest["price"] == {"unit": "wei per 1,000 tokens", "prompt_wei": "5", "completion_wei": str(10**20)}
    assert (forest["location"], forest["capabilities"]["logprobs"]) == ("network", False)
    assert "logprobs" not in forest["supported_parameters"]
    assert found.json() == forest
    assert ModelList.model_validate(listed.json()).model_dump(exclude_unset=True) == listed.json()
    assert missing.json()["error"]["code"] == "model_not_found"
