"""Jobs: the life of a row."""

from contextlib import closing
from pathlib import Path

import pytest

from openledger_node.ledger.jobs import DuplicateJobError, JobSums
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_protocol.inference import Completion
from openledger_protocol.primitives import AdapterId, RequestId

from .conftest import job


def completion(number: int = 1, *, tokens_out: int = 7) -> Completion:
    return Completion(
        request_id=RequestId(f"r{number}"),
        base="fake",
        adapter_id=AdapterId("0xaa"),
        text="a text that must not be kept",
        ids=(1, 2),
        finish_reason="stop",
        tokens_in=10 * number,
        tokens_out=tokens_out,
    )


def test_the_first_end_of_a_job_is_its_only_end_and_its_id_is_used_once(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.jobs.start(job(number))
    for error_code, ended_ns in (("engine_failed", 2_000), ("x", 3_000)):
        ledger.jobs.fail(RequestId("r2"), error_code=error_code, ended_ns=ended_ns)
    for tokens_out in (7, 99):
        ledger.jobs.complete(completion(tokens_out=tokens_out), first_token_ns=1_500, ended_ns=2_000)
    ledger.jobs.fail(RequestId("r1"), error_code="engine_failed", ended_ns=3_000)
    assert ledger.jobs.newest(limit=10) == [
        job(2, state="failed", error_code="engine_failed", ended_ns=2_000),
        job(state="completed", tokens_out=7, finish_reason="stop", first_token_ns=1_500, ended_ns=2_000),
    ]
    with pytest.raises(DuplicateJobError, match="request id r1 was used before"):
        ledger.jobs.start(job())


def test_a_start_marks_what_the_last_run_left_and_nothing_else(file: Path) -> None:
    with closing(open_ledger(file)) as before:
        for number in (1, 2, 3, 4):
            before.jobs.start(job(number))
        before.jobs.complete(completion(1), first_token_ns=None, ended_ns=9)
        before.jobs.fail(RequestId("r2"), error_code="x", ended_ns=9)
    with closing(open_ledger(file)) as after:
        assert after.jobs.recover() == 2
        assert after.jobs.recover() == 0
        assert {found.request_id: found.state for found in after.jobs.newest(limit=9)} == {
            "r1": "completed",
            "r2": "failed",
            "r3": "interrupted",
            "r4": "interrupted",
        }


def test_no_text_of_a_request_is_ever_in_the_file(file: Path) -> None:
    with closing(open_ledger(file)) as ledger:
        ledger.jobs.start(job())
        ledger.jobs.complete(completion(), first_token_ns=None, ended_ns=9)
    kept = b"".join(part.read_bytes() for part in file.parent.iterdir())
    assert b"harbour" in kept
    assert completion().text.encode() not in kept


def test_the_newest_jobs_are_found_and_those_since_a_moment_summed(ledger: Ledger) -> None:
    for number in (1, 2, 3, 4):
        ledger.jobs.start(job(number, adapter_name="harbour" if number < 4 else None))
    ledger.jobs.complete(completion(2), first_token_ns=None, ended_ns=9)
    ledger.jobs.complete(completion(4), first_token_ns=None, ended_ns=9)
    ledger.jobs.fail(RequestId("r3"), error_code="x", ended_ns=9)
    assert [found.request_id for found in ledger.jobs.newest(limit=2)] == ["r4", "r3"]
    assert ledger.jobs.sums(since_ns=2_000) == JobSums(
        num_jobs=3, num_answered=2, num_failed=1, num_interrupted=0, tokens_out=14, adapter_tokens_out=7
    )
