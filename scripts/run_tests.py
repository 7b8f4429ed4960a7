"""All checks side by side: lint, types, the contracts and every test, on a few workers, the longest job first.

Each job prints one line when it ends, and its whole output if it failed. If tests of a few files failed, these
files run a second time, when nothing runs beside them: tests of a file may build on each other. What fails again is
a fault; what passes is printed as unsteady, to be fixed. Tests that the machine can't run are counted under NOT
TESTED. The exit status is 0 only if no check failed and no test failed twice.

The jobs are balanced by tests/durations.json, which `--record` writes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IS_DEEP = os.environ.get("TEST_DEPTH") == "deep"
RUN_PYTEST = (sys.executable, str(Path(__file__).with_name("run_pytest.py")))
PYTEST_FLAGS = ("-q", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={3600 if IS_DEEP else 600}")
"""A test that takes longer than this hangs, and ends its run, which then has failed."""

DURATIONS = Path("tests/durations.json")
CHECKED = ("lint", "contracts", "slither") if IS_DEEP else ("lint", "contracts")
CHECKS = {name: ("make", "--no-print-directory", name) for name in CHECKED}
"""Jobs that are no tests. They use the processor alone, so they run beside tests that wait."""

TOGETHER = (
    ("tests/web",),  # share a browser and nodes that take a minute to start
    ("tests/real",),  # share the demo base
    ("tests/conformance", "tests/house/test_plugs_ran.py"),  # the second looks at what ran in the first
)
ELSEWHERE = ("tests/vllm/", "tests/llamacpp/", "tests/gpu/")
"""`make test-vllm` and `make test-llamacpp` run these with environments of their own, `make test-gpu` on a card."""

BUNDLE_S = 150.0
"""Other files are bundled up to this: a pytest run takes 5 s to load what it tests, and a long last job would leave
cores idle."""

SHORT_S = 0.5
"""Files that take less are not in the durations file, and count as this much."""

ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", **os.environ}
"""Threads that wait by spinning would take the processor from the other jobs."""

MEMORY_DISK = Path("/dev/shm")
MEMORY_DISK_BYTES_MIN = 4 << 30
"""Tests leave 1 GiB at a time at most; the rest is room for what they run."""

UNSTEADY_MAX = 3
"""Files with failures that run again. Tests of a file share what they start, so one cause fails several."""

SLOWEST_MAX = 20
"""As many of the slowest tests are printed."""

PASSED, TESTS_FAILED, NOTHING_RAN = 0, 1, 5
"""Exit statuses of pytest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command that runs beside others."""

    name: str
    command: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()  # of tests; a pytest run of its own
    expected_s: float = SHORT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a job. `report` is empty if it was no pytest run, or one that did not come to its end."""

    job: Job
    status: int
    output: str = ""
    seconds: float = 0.0
    processor_s: float = 0.0  # of the job and of what it started and waited for
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """The ids of the tests that failed."""
        return list(self.report.get("failed", ()))

    @property
    def is_passed(self) -> bool:
        """True if all that ran passed; all tests of a bundle may be left out by their markers."""
        has_left_out_all = self.status == NOTHING_RAN and self.report.get("left_out", 0) > 0
        return self.status == PASSED or has_left_out_all

    @property
    def is_worth_a_second_look(self) -> bool:
        """True if the job ran to its end, and nothing but some of its tests failed."""
        return self.status == TESTS_FAILED and bool(self.failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) + 2, help="jobs at a time")
    parser.add_argument("--record", action="store_true", help=f"write {DURATIONS} from this run")
    words = parser.parse_args()
    began_s = time.monotonic()
    durations: dict[str, float] = json.loads(DURATIONS.read_text()) if DURATIONS.exists() else {}
    outcomes = list(run_all([*checks(durations), *bundles(test_files(), durations)], words.workers))
    holds = are_good(outcomes)
    for line in (*slowest(outcomes), *not_tested(outcomes), counts(outcomes)):
        print(line)
    if words.record:
        DURATIONS.write_text(json.dumps(recorded(outcomes), indent=1) + "\n")
    used = os.times()
    took_s, processor_s = time.monotonic() - began_s, used.children_user + used.children_system
    print(f"{'passed' if holds else 'FAILED'} in {took_s:.0f} s, {processor_s:.0f} s of the processor")
    sys.exit(not holds)


def test_files() -> list[str]:
    """The test files below the current folder that this environment can run."""
    files = sorted(path.as_posix() for path in Path("tests").rglob("test_*.py"))
    return [file for file in files if not file.startswith(ELSEWHERE)]


def checks(durations: Mapping[str, float]) -> list[Job]:
    return [Job(name=name, command=command, expected_s=durations.get(name, 60)) for name, command in CHECKS.items()]


def bundles(files: Iterable[str], durations: Mapping[str, float]) -> list[Job]:
    """Share test files out to pytest runs: what belongs together, then the others in the order of their paths."""
    rest, jobs = list(files), []
    for paths in TOGETHER:
        inside = [file for file in rest if any(file == path or file.startswith(f"{path}/") for path in paths)]
        rest = [file for file in rest if file not in inside]
        if inside:
            jobs.append(bundle(paths[0], inside, durations))
    batch: list[str] = []
    for file in rest:
        if batch and seconds_of([*batch, file], durations) > BUNDLE_S:
            jobs.append(bundle(name_of(batch), batch, durations))
            batch = []
        batch.append(file)
    return [*jobs, bundle(name_of(batch), batch, durations)] if batch else jobs


def name_of(files: list[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} … {files[-1]}"


def bundle(name: str, files: list[str], durations: Mapping[str, float]) -> Job:
    return Job(name=name, paths=tuple(files), expected_s=seconds_of(files, durations))


def seconds_of(files: Iterable[str], durations: Mapping[str, float]) -> float:
    return sum(durations.get(file, SHORT_S) for file in files)


def run_all(jobs: list[Job], num_workers: int) -> Iterator[Outcome]:
    """Run jobs, the longest first, and tell of each when it ends."""
    with ThreadPoolExecutor(num_workers) as pool, ExitStack() as stack:
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)  # after Ctrl-C, no further job begins
        running = [pool.submit(run, job) for job in sorted(jobs, key=lambda job: -job.expected_s)]
        for number, future in enumerate(as_completed(running), start=1):
            outcome = future.result()
            if not outcome.is_passed:
                print(outcome.output, flush=True)
            verdict = "passed" if outcome.is_passed else "FAILED"
            took = f"{outcome.seconds:5.0f} s, {outcome.processor_s:4.0f} s of the processor"
            print(f"{number:3}/{len(jobs)} {verdict} {took}  {outcome.job.name}", flush=True)
            yield outcome


def temporary_folder() -> str | None:
    """A disk in memory for temporary files, if it has room; None for the usual folder.

    A commit that is on the disk when it returns takes 4 ms on a disk and 0.2 ms here, and a test makes hundreds.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY_DISK, os.W_OK):
        return None
    return str(MEMORY_DISK) if shutil.disk_usage(MEMORY_DISK).free >= MEMORY_DISK_BYTES_MIN else None


def run(job: Job) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="openledger-tests-", dir=temporary_folder()) as folder:
        Path(folder).chmod(0o755)  # some tests look at their files as another user
        report = Path(folder) / "report.json"
        pytest_run = (*RUN_PYTEST, str(report), *PYTEST_FLAGS, f"--basetemp={folder}/t", *job.paths)
        began_s = time.monotonic()
        with subprocess.Popen(
            pytest_run if job.paths else job.command,
            env={**ENVIRONMENT, "TMPDIR": folder},  # what is left there goes with the job
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout
            output = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        found = json.loads(report.read_text()) if report.exists() else {}
    seconds = time.monotonic() - began_s
    return Outcome(
        job=job,
        status=process.returncode,
        output=output,
        seconds=seconds,
        processor_s=used.ru_utime + used.ru_stime,
        report=found,
    )


def are_good(outcomes: list[Outcome]) -> bool:
    """True if nothing failed, or only tests of a few files that pass when they run alone."""
    bad = [outcome for outcome in outcomes if not outcome.is_passed]
    failed = [test for outcome in bad for test in outcome.failed]
    files = dict.fromkeys(test.partition("::")[0] for test in failed)
    is_forgivable = all(outcome.is_worth_a_second_look for outcome in bad) and len(files) <= UNSTEADY_MAX
    if not bad or not is_forgivable:
        return not bad
    again = run(Job(name="a second look", paths=tuple(files)))
    if not again.is_passed:
        print(again.output, flush=True)
        return False
    print("UNSTEADY, passed alone:", *failed, sep="\n  ", flush=True)
    return True


def slowest(outcomes: Iterable[Outcome]) -> list[str]:
    """The tests that took longest, with their seconds, setup and teardown included."""
    tests: Counter[str] = Counter()
    for outcome in outcomes:
        tests.update(outcome.report.get("slowest", {}))
    return ["slowest tests:", *(f"{seconds:7.1f} s  {test}" for test, seconds in tests.most_common(SLOWEST_MAX))]


def counts(outcomes: Iterable[Outcome]) -> str:
    """One line with the numbers of tests that passed, that failed at first, and that were skipped."""
    reports = [outcome.report for outcome in outcomes]
    passed = sum(report.get("passed", 0) for report in reports)
    failed = sum(len(report.get("failed", ())) for report in reports)
    skipped = sum(sum(report.get("skipped", {}).values()) for report in reports)
    return f"{passed} passed, {failed} failed, {skipped} skipped"


def not_tested(outcomes: Iterable[Outcome]) -> list[str]:
    """One line for each reason why tests were skipped, in whatever job, and what the checks say they left out."""
    skipped: Counter[str] = Counter()
    said = []
    for outcome in outcomes:
        skipped.update(outcome.report.get("skipped", {}))
        if not outcome.job.paths:
            said += [line for line in outcome.output.splitlines() if line.startswith("NOT TESTED")]
    tests = [f"NOT TESTED: {reason} ({count} test{'s' * (count > 1)})" for reason, count in sorted(skipped.items())]
    return said + tests


def recorded(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Seconds of each check and of each test file that is not short."""
    seconds: Counter[str] = Counter()
    for outcome in outcomes:
        is_check = not outcome.job.paths
        seconds.update({outcome.job.name: outcome.seconds} if is_check else outcome.report.get("seconds", {}))
    return {name: round(took_s, 1) for name, took_s in sorted(seconds.items()) if took_s > SHORT_S}


if __name__ == "__main__":
    main()
