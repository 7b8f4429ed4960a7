"""What a start prints: few lines of progress, and a greeting with what to try."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openledger_node.cli import greeting
from openledger_node.cli.greeting import greet
from openledger_node.cli.progress import LINE_INTERVAL_S, StageReport
from openledger_node.engine.load_steps import LoadStep
from openledger_node.first_words import FIRST_QUESTION, SAMPLE_QUESTION, SAMPLE_TEACHER
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


PROFILE = SimpleNamespace(device="cpu", dtype="bfloat16", backend="torch_lora")


def listening(base: str = "smollm2-135m-instruct", num_adapters: int = 0, is_selling: bool = True) -> Any:
    return SimpleNamespace(
        url="http://127.0.0.1:8420",
        page="http://127.0.0.1:8420/open?code=x",
        key_file=Path("/home/me/keys/api.key"),
        base=SimpleNamespace(name=base),
        engine=SimpleNamespace(profile=PROFILE),
        is_selling=is_selling,
        num_adapters=num_adapters,
        num_recovered=0,
    )


def said(capsys: pytest.CaptureFixture[str], node: Any) -> str:
    greet(node, began_s=0.0, hello=False)
    return capsys.readouterr().err


def test_the_demo_base_is_said_to_be_no_judge_of_facts(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, listening())
    assert f"chat '{FIRST_QUESTION}'" in text
    assert f'"content": "{FIRST_QUESTION}"}}], "temperature": 0}}' in text
    assert "don't trust its answers. For a larger base, run `openledger-node setup`" in text
    assert "demo base" not in said(capsys, listening(base="qwen"))


def test_the_shipped_adapter_is_named_with_its_teacher_where_there_is_none_yet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(greeting, "files", lambda _: tmp_path)
    assert SAMPLE_TEACHER not in said(capsys, listening())
    (tmp_path / "samples" / "harbour").mkdir(parents=True)
    text = said(capsys, listening())
    assert (SAMPLE_TEACHER in text, f"chat '{SAMPLE_QUESTION}' --model harbour" in text) == (True, True)
    assert SAMPLE_TEACHER not in said(capsys, listening(num_adapters=1))


def test_a_node_that_only_buys_is_told_where_adapters_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, listening(is_selling=False))
    assert "adapters  those of other nodes" in text
    assert "peers list` shows who sells which" in text
    assert "adapters add" not in text
