"""When an adapter is merged into the base."""

from openledger_node.backends.torch_lora.merging import MergePolicy
from openledger_protocol.primitives import AdapterId

A, B = AdapterId("0xaa"), AdapterId("0xbb")


def test_an_adapter_is_merged_once_it_had_the_batch_for_itself_long_enough() -> None:
    policy = MergePolicy(3)
    assert [policy.choose([A, A]) for _ in range(5)] == [None, None, None, A, A]


def test_whoever_joins_ends_it_and_the_count_begins_anew() -> None:
    policy = MergePolicy(1)
    chosen = [policy.choose(rows) for rows in ([A], [A], [A, B], [A], [A], [A, None], [B], [B])]
    assert chosen == [None, A, None, None, A, None, None, B]


def test_the_bare_base_is_never_merged_and_zero_means_never() -> None:
    assert [MergePolicy(1).choose([None]) for _ in range(3)] == [None, None, None]
    policy = MergePolicy(0)
    assert [policy.choose([A]) for _ in range(9)] == [None] * 9


def test_after_a_failure_it_is_tried_again_later() -> None:
    policy = MergePolicy(2)
    for _ in range(3):
        policy.choose([A])
    policy.forget()
    assert [policy.choose([A]) for _ in range(3)] == [None, None, A]
