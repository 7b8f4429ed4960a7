"""A wish for or against reasoning: which templates take one, and what it makes of an answer's format."""

import pytest

from openledger_node.engine.chat_template import ChatTemplate
from openledger_node.serving.answer_parts import answer_format
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import InferenceRequest, Message, SamplingParams
from openledger_protocol.primitives import ZERO_DIGEST, RequestId

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
PLAIN = TURNS
QWEN = TURNS + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
GLM = TURNS + "{{ '<think></think>' if enable_thinking is defined and not enable_thinking else '<think>' }}"
DEEPSEEK = TURNS + "{{ '<think>' if thinking else '</think>' }}"
ALWAYS = TURNS + "<think>"
QUESTION = (Message(role="user", content="Hi"),)


def request(thinking: bool | None) -> InferenceRequest:
    sampling = SamplingParams(max_tokens=9, seed=1)
    request_id = RequestId(ZERO_DIGEST)
    return InferenceRequest(request_id=request_id, model="m", prompt=QUESTION, sampling=sampling, thinking=thinking)


@pytest.mark.parametrize(
    ("source", "thinking", "ending", "has_reasoning", "starts"),
    [
        (PLAIN, None, "<|assistant|>", False, False),
        (PLAIN, True, "<|assistant|>", False, False),
        (PLAIN, False, "<|assistant|>", False, False),
        (QWEN, None, "<|assistant|>", True, False),
        (QWEN, True, "<|assistant|>", True, False),
        (QWEN, False, "</think>\n\n", False, False),
        (GLM, None, "<think>", True, True),
        (GLM, False, "<think></think>", False, False),
        (DEEPSEEK, None, "</think>", True, False),
        (DEEPSEEK, True, "<think>", True, True),
        (DEEPSEEK, False, "</think>", False, False),
        (ALWAYS, None, "<think>", True, True),
        (ALWAYS, True, "<think>", True, True),
    ],
)
def test_a_wish_changes_the_prompt_and_the_format_of_the_answer(
    source: str, thinking: bool | None, ending: str, has_reasoning: bool, starts: bool
) -> None:
    template = ChatTemplate(source, {})
    assert template.render(QUESTION, thinking=thinking).endswith(ending)
    found = answer_format(template.style, request(thinking))
    assert (found.has_reasoning, found.style.starts_reasoning) == (has_reasoning, starts)


def test_a_base_that_always_reasons_refuses_to_be_turned_off() -> None:
    template = ChatTemplate(ALWAYS, {})
    with pytest.raises(MalformedError, match="no switch") as raised:
        template.render(QUESTION, thinking=False)
    assert raised.value.values["param"] == "reasoning_effort"
    assert template.style.hears(False)
    assert not template.style.hears(True)


def test_a_base_that_never_reasons_hears_no_wish() -> None:
    assert not any(ChatTemplate(PLAIN, {}).style.hears(wish) for wish in (None, True, False))


@pytest.mark.parametrize(
    ("source", "expected"), [(PLAIN, None), (QWEN, True), (GLM, True), (DEEPSEEK, False), (ALWAYS, None)]
)
def test_the_default_is_the_wish_that_changes_nothing(source: str, expected: bool | None) -> None:
    assert ChatTemplate(source, {}).style.default_thinking is expected
