"""The progress of a long task where there is no terminal: few lines, each with what a person wants to know."""

import pytest

from openledger_node.cli.progress import LINE_INTERVAL_S, StageReport
from openledger_node.engine.load_steps import LoadStep
from openledger_node.models.fetch import Progress

MB = 10**6


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_download_says_its_rate_and_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with StageReport(now_s=clock) as report:
        for clock.now_s, done in ((0, 10), (1, 20), (LINE_INTERVAL_S, 40), (2 * LINE_INTERVAL_S, 100)):
            report(Progress(what="downloading", done=done * MB, total=100 * MB))
        report(Progress(what="checking", done=0, total=1))
    assert capsys.readouterr().err.splitlines() == [
        "  downloading …",
        "  downloading, 40.0 MB of 100.0 MB, 10.0 MB/s, 6 s left",
        "  downloading, 100.0 MB of 100.0 MB, 15.0 MB/s, 0 s left",
        "  downloaded 100.0 MB in 6.0 s",
        "  checking …",
    ]


def test_the_base_is_loaded_in_a_line_and_one_more_for_each_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with StageReport(now_s=clock) as report:
        report.load_step(LoadStep(phase="engine"))
        for clock.now_s in (0.0, 1.0, 5.0):
            report.load_step(LoadStep(phase="loading", done=int(clock.now_s), total=10))
        report.end()
        report.load_step(LoadStep(phase="loading", done=9, total=10))  # a load after the start is nobody's news
    assert capsys.readouterr().err.splitlines() == [
        "  starting the engine …",
        "  loading the base …",
        "  loading the base, 50 %",
    ]


def test_a_quiet_start_prints_nothing_and_status_still_knows_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    notes: list[str] = []
    with StageReport(is_quiet=True, note=notes.append, now_s=Clock()) as report:
        report(Progress(what="downloading", done=5 * MB, total=10 * MB))
        report(Progress(what="downloading", done=6 * MB, total=10 * MB))
        report.load_step(LoadStep(phase="loading", done=1, total=4))
    assert capsys.readouterr().err == ""
    assert notes == ["downloading, 5.0 MB of 10.0 MB", "loading the base, 25 %"]
