"""What an adapter did in the last day, and what that earned."""

from dataclasses import replace

from support.rows import job_of

from openledger_node.operator.usage import HOUR_NS, usage_of
from openledger_protocol.primitives import AdapterId, Digest, RequestId, Wei

NOW_NS = 100 * 24 * HOUR_NS
JOB = job_of("0x01", received_ns=NOW_NS - 1, adapter_id=AdapterId("0xaa"), adapter_name="lake", state="completed")


def test_calls_are_counted_by_hour_and_what_was_paid_is_summed() -> None:
    early = replace(JOB, request_id=RequestId("0x02"), received_ns=NOW_NS - 23 * HOUR_NS - 1)
    other = replace(JOB, request_id=RequestId("0x03"), adapter_id=AdapterId("0xbb"))
    paid = {RequestId("0x01"): (Digest("0x0a"), Wei(5)), RequestId("0x02"): (Digest("0x0b"), Wei(7))}
    found = usage_of([JOB, early, other], paid, now_ns=NOW_NS)
    assert (found["0xaa"]["calls"], found["0xaa"]["earned_wei"]) == (2, "12")
    assert [n for n, calls in enumerate(found["0xaa"]["by_hour"]) if calls] == [0, 23]
    assert (found["0xbb"]["calls"], found["0xbb"]["earned_wei"]) == (1, "0")


def test_the_bare_base_and_what_is_older_than_a_day_do_not_count() -> None:
    bare, old = replace(JOB, adapter_id=None), replace(JOB, received_ns=NOW_NS - 25 * HOUR_NS)
    assert usage_of([bare, old], {}, now_ns=NOW_NS) == {}
