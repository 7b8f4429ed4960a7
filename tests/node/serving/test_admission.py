from dataclasses import replace

import pytest

from openledger_node.serving.admission import Capacity, grant_tokens
from openledger_protocol.errors import (
    MalformedError,
    OverloadedError,
    ProtocolError,
    RequestTooLongError,
    UnavailableError,
)

CAPACITY = Capacity(context_max=100, queue_max=4, num_live=0, is_draining=False)


@pytest.mark.parametrize(
    ("capacity", "num_prompt_tokens", "refusal", "message"),
    [
        (replace(CAPACITY, is_draining=True), 10, UnavailableError, "stopping"),
        (replace(CAPACITY, num_live=4), 10, OverloadedError, "try again"),
        (CAPACITY, 0, MalformedError, "empty"),
        (CAPACITY, 100, RequestTooLongError, "100 tokens"),
    ],
)
def test_refusals(capacity: Capacity, num_prompt_tokens: int, refusal: type[ProtocolError], message: str) -> None:
    with pytest.raises(refusal, match=message):
        grant_tokens(capacity, num_prompt_tokens=num_prompt_tokens, max_tokens=5)


@pytest.mark.parametrize(("num_prompt_tokens", "max_tokens", "granted"), [(10, 5, 5), (10, 500, 90), (99, 5, 1)])
def test_max_tokens_is_a_ceiling_that_yields_to_the_prompt(
    num_prompt_tokens: int, max_tokens: int, granted: int
) -> None:
    assert grant_tokens(CAPACITY, num_prompt_tokens=num_prompt_tokens, max_tokens=max_tokens) == granted


def test_only_what_may_succeed_later_is_retryable() -> None:
    assert OverloadedError.retryable
    assert UnavailableError.retryable
    assert not RequestTooLongError.retryable
