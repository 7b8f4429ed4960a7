"""Chat templates and tools: how a template takes them is found by probes, and any other base is told in text."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from jinja2 import TemplateError
from node.engine.chat_templates import OTHERS, TEMPLATES
from tokenizers import Tokenizer, models

from openledger_node.engine import chat_template
from openledger_node.engine.chat_template import RENDERED_LENGTH_MAX, ChatStyle, ChatTemplate
from openledger_node.engine.tokenizer import BaseTokenizer
from openledger_node.engine.tool_formats import HERMES
from openledger_node.serving.answer_parts import answer_format
from openledger_protocol.errors import MalformedError, RequestTooLongError
from openledger_protocol.inference import InferenceRequest, Message, SamplingParams, Tool, ToolCall, Tooling
from openledger_protocol.primitives import ZERO_DIGEST, RequestId

WEATHER = Tool(name="get_weather", description="Wetter, 'heute'", parameters='{"type":"object","title":"x"}')
TOOLING = Tooling(tools=(WEATHER,))
CALL = ToolCall(id="call_1", name="get_weather", arguments='{"town": "Åbo"}')
SECOND = ToolCall(id="call_2", name="get_weather", arguments="")
ASKED = Message(role="user", content="Is it raining?")
TURNS = (
    ASKED,
    Message(role="assistant", content="I look.", tool_calls=(CALL, SECOND)),
    Message(role="tool", content="wet", tool_call_id="call_1"),
    Message(role="tool", content="dry", tool_call_id="call_2"),
    Message(role="user", content="Thanks"),
)


def opened(name: str) -> ChatTemplate:
    return ChatTemplate({**TEMPLATES, **OTHERS}[name], {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("hermes", ChatStyle(shows_tools="template", writes_calls=True)),
        ("text arguments", ChatStyle(shows_tools="template", writes_calls=True, has_text_arguments=True)),
        ("plain", ChatStyle()),
        ("strict", ChatStyle()),
        ("unknown calls", ChatStyle()),
        ("no results", ChatStyle()),
        ("reasoning", ChatStyle(can_reason=True)),
        ("opened reasoning", ChatStyle(can_reason=True, starts_reasoning=True)),
    ],
)
def test_what_a_template_can_is_probed(name: str, style: ChatStyle) -> None:
    assert opened(name).style == style


@pytest.mark.parametrize("name", [*TEMPLATES, *OTHERS])
def test_every_template_renders_tools_calls_and_results_and_nothing_of_them_where_they_are_off(name: str) -> None:
    template = opened(name)
    assert name in OTHERS or template.style.family.name == name, "the family is found by how it renders a call"
    assert template.render((ASKED,), Tooling(tools=(WEATHER,), choice="none")) == template.render((ASKED,))
    assert "Wetter" not in template.render((ASKED,))
    rendered = template.render(TURNS, TOOLING)
    parts = ("Wetter, 'heute'", "Is it raining?", "I look.", "Åbo", "wet", "dry", "Thanks")
    for part in parts[:2] if name == "mistral" else parts:  # Mistral's leaves out the text beside calls
        assert part in rendered or json.dumps(part)[1:-1] in rendered, part


def test_a_template_without_tools_is_told_of_them_in_the_system_message() -> None:
    rendered = opened("plain").render((Message(role="system", content="Be brief."), *TURNS), TOOLING)
    system, *turns = rendered.split("<|")[1:]
    assert system.startswith("system|>Be brief.\n\n")
    shown = system.split("<tools>\n")[1].split("\n</tools>")[0]
    assert json.loads(shown)["function"]["parameters"] == {"type": "object", "title": "x"}
    assert turns == [
        "user|>Is it raining?",
        'assistant|>I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"town": "Åbo"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>',
        "user|><tool_response>\nwet\n</tool_response>\n<tool_response>\ndry\n</tool_response>\nThanks",
        "assistant|>",
    ]


def test_a_template_that_wants_alternating_roles_gets_them() -> None:
    rendered = opened("strict").render(TURNS, TOOLING)
    assert rendered.startswith("<|user|>You may call")
    assert rendered.count("<|user|>") == 2
    with pytest.raises(MalformedError, match="alternate"):
        opened("strict").render((ASKED, ASKED), TOOLING)


def test_a_template_of_one_call_a_turn_gets_each_with_its_result() -> None:
    rendered = opened("llama").render(TURNS, TOOLING)
    order = [rendered.index(part) for part in ("I look.", "Åbo", "wet", '"parameters": {}', "dry", "Thanks")]
    assert order == sorted(order)
    assert not opened("llama").style.is_parallel


def test_ids_that_a_template_would_refuse_are_shortened_alike_for_call_and_result() -> None:
    rendered = opened("mistral").render(TURNS, TOOLING)
    ids = [part.split('"')[0] for part in rendered.split('"id": "')[1:]]
    assert [len(each) for each in ids] == [9, 9]
    assert all(f"{result} {short}" in rendered for result, short in zip(("wet", "dry"), ids, strict=True))
    kept = Message(role="assistant", content="", tool_calls=(ToolCall(id="abcDEF123", name="f", arguments="{}"),))
    assert '"id": "abcDEF123"' in opened("mistral").render((ASKED, kept), TOOLING)


def test_a_result_knows_the_name_of_its_call() -> None:
    template = ChatTemplate(TEMPLATES["hermes"].replace("<tool_response>", "<tool_response {{ m.name }}>", 1), {})
    assert template.style.family is HERMES
    assert "<tool_response get_weather>wet" in template.render(TURNS, TOOLING)


@pytest.mark.parametrize(
    "shown", ["{{ messages | tojson(indent=400) }}", "{% for t in 'ab' %}{{ '%2000000s' % t }}{% endfor %}"]
)
def test_a_rendering_that_grows_far_beyond_its_request_is_refused(shown: str) -> None:
    template = ChatTemplate(shown.replace("2000000", str(RENDERED_LENGTH_MAX // 2 + 1)), {})
    with pytest.raises(RequestTooLongError, match="the rendered prompt is longer than"):
        template.render((ASKED,) * 4_000)


def test_a_rendering_is_the_same_on_each_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":
            return cls(2026, 1, 2 if tz is UTC else 1, tzinfo=tz)

    monkeypatch.setattr(chat_template, "datetime", Clock)
    assert ChatTemplate("{{ strftime_now('%d') }}", {}).render((ASKED,)) == "02"
    with pytest.raises(TemplateError, match="random"):
        ChatTemplate("{{ messages | random }}", {})
    with pytest.raises(MalformedError, match="lipsum"):
        ChatTemplate("{{ lipsum() }}", {}).render((ASKED,))


def test_a_templates_digest_covers_its_text_and_its_special_tokens() -> None:
    file = Tokenizer(models.BPE())
    digests = {
        BaseTokenizer(file, template, special).template_digest
        for template in (None, "a", "b")
        for special in ({}, {"bos_token": "<s>"})
    }
    assert len(digests) == 5
    assert BaseTokenizer(file, None, {"bos_token": "<s>"}).template_digest == ZERO_DIGEST


# ---- a wish for or against reasoning

PLAIN = OTHERS["plain"]
QWEN = PLAIN + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
GLM = PLAIN + "{{ '<think></think>' if enable_thinking is defined and not enable_thinking else '<think>' }}"
DEEPSEEK = PLAIN + "{{ '<think>' if thinking else '</think>' }}"
ALWAYS = PLAIN + "<think>"


@pytest.mark.parametrize(
    ("source", "thinking", "ending", "has_reasoning", "starts"),
    [
        (PLAIN, False, "<|assistant|>", False, False),
        (QWEN, None, "<|assistant|>", True, False),
        (QWEN, True, "<|assistant|>", True, False),
        (QWEN, False, "</think>\n\n", False, False),
        (GLM, False, "<think></think>", False, False),
        (DEEPSEEK, None, "</think>", True, False),
        (DEEPSEEK, True, "<think>", True, True),
        (DEEPSEEK, False, "</think>", False, False),
        (ALWAYS, None, "<think>", True, True),
    ],
)
def test_a_wish_changes_the_prompt_and_the_format_of_the_answer(
    source: str, thinking: bool | None, ending: str, has_reasoning: bool, starts: bool
) -> None:
    template = ChatTemplate(source, {})
    assert template.render((ASKED,), thinking=thinking).endswith(ending)
    sampling, request_id = SamplingParams(max_tokens=9, seed=1), RequestId(ZERO_DIGEST)
    request = InferenceRequest(
        request_id=request_id, model="m", prompt=(ASKED,), sampling=sampling, thinking=thinking
    )
    found = answer_format(template.style, request)
    assert (found.has_reasoning, found.style.starts_reasoning) == (has_reasoning, starts)


def test_a_base_that_always_reasons_refuses_to_be_turned_off() -> None:
    with pytest.raises(MalformedError, match="no switch") as raised:
        ChatTemplate(ALWAYS, {}).render((ASKED,), thinking=False)
    assert raised.value.values["param"] == "reasoning_effort"


@pytest.mark.parametrize(
    ("source", "default", "heard"),
    [
        (PLAIN, None, []),
        (QWEN, True, [True, False]),
        (GLM, True, [True, False]),
        (DEEPSEEK, False, [True, False]),
        (ALWAYS, None, [False]),
    ],
)
def test_a_base_with_a_switch_has_a_default_and_hears_both_wishes(
    source: str, default: bool | None, heard: list[bool]
) -> None:
    style = ChatTemplate(source, {}).style
    assert style.default_thinking is default, "the wish that changes nothing"
    assert [wish for wish in (None, True, False) if style.hears(wish)] == heard
