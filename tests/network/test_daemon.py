"""A node's life and death, as an operator sees it: a real process on the fake backend."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.processes.nodes import (
    START_TIMEOUT_S,
    Node,
    command_json,
    is_alive,
    node_environment,
    running_node,
    start_process,
    wait_for,
    wait_for_status,
)

from openledger_node.home import Home

pytestmark = pytest.mark.process

ENDLESS = [{"role": "user", "content": "on and on..."}]


def stream(node: Node, max_tokens: int, on_start: threading.Event, seen: list[str]) -> None:
    """Read one streamed answer to its end, or until somebody cuts it off, into `seen`."""
    body = {"model": "fake", "messages": ENDLESS, "max_tokens": max_tokens, "stream": True, "temperature": 0}
    with (
        contextlib.suppress(httpx.HTTPError),
        node.client() as client,
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        for line in response.iter_lines():
            if line:
                seen.append(line)
            if len(seen) == 3:
                on_start.set()


@contextlib.contextmanager
def streaming(node: Node, max_tokens: int) -> Iterator[list[str]]:
    """The lines of an answer that has begun; at the end it has ended."""
    started, seen = threading.Event(), list[str]()
    reader = threading.Thread(target=stream, args=(node, max_tokens, started, seen))
    reader.start()
    assert started.wait(20)
    yield seen
    reader.join(30)


def test_ctrl_c_lets_running_answers_end_and_exits_0(home: Home) -> None:
    with (
        running_node(home, "--backend", "fake", OPENLEDGER_INFERENCE_CONTEXT_MAX="8000") as node,
        streaming(node, 5000) as seen,
    ):
        node.signal(signal.SIGINT)
        assert node.wait() == 0
    assert seen[-1] == "data: [DONE]"
    assert [job["state"] for job in command_json(home, "jobs")["jobs"]] == ["completed"]
    assert command_json(home, "status")["state"] == "stopped"


def test_a_draining_node_takes_no_new_request_and_ends_when_its_grace_is_over(home: Home) -> None:
    environment = {"OPENLEDGER_INFERENCE_CONTEXT_MAX": "1000000", "OPENLEDGER_NODE_DRAIN_GRACE_S": "5"}
    with running_node(home, "--backend", "fake", **environment) as node, streaming(node, 900_000) as seen:
        node.signal(signal.SIGTERM)
        wait_for_status(home, node.process, lambda found: found["state"] == "draining")
        body = {"model": "fake", "messages": ENDLESS}
        response = httpx.post(f"{node.url}/v1/chat/completions", headers=node.headers, json=body)
        assert response.status_code == 503
        assert "Retry-After" in response.headers
        assert node.wait() == 0
    (job,) = command_json(home, "jobs")["jobs"]
    assert (job["state"], job["finish_reason"]) == ("completed", "cancelled")
    assert seen[-1] == "data: [DONE]", "who is cut off is told so"


def test_who_is_cut_off_is_told_so_even_if_the_engine_hangs(home: Home) -> None:
    environment = {"OPENLEDGER_INFERENCE_CONTEXT_MAX": "1000000", "OPENLEDGER_NODE_DRAIN_GRACE_S": "0.2"}
    with running_node(home, "--backend", "fake", **environment) as node, streaming(node, 900_000) as seen:
        os.kill(node.status()["engine"]["process_id"], signal.SIGSTOP)
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
    (job,) = command_json(home, "jobs")["jobs"]
    assert (job["state"], job["finish_reason"]) == ("completed", "cancelled")
    assert seen[-1] == "data: [DONE]"


def test_a_second_signal_ends_at_once_and_still_records(home: Home) -> None:
    with (
        running_node(home, "--backend", "fake", OPENLEDGER_INFERENCE_CONTEXT_MAX="1000000") as node,
        streaming(node, 900_000),
    ):
        node.signal(signal.SIGINT)
        wait_for_status(home, node.process, lambda found: found["state"] == "draining")
        node.signal(signal.SIGINT)
        assert node.wait() == 0
    (job,) = command_json(home, "jobs")["jobs"]
    assert (job["state"], job["finish_reason"]) == ("completed", "cancelled")


def test_a_killed_engine_child_is_replaced_while_the_daemon_serves_on(home: Home) -> None:
    with running_node(home, "--backend", "fake", OPENLEDGER_INFERENCE_CONTEXT_MAX="8000") as node:
        undisturbed: list[str] = []
        stream(node, 5000, threading.Event(), undisturbed)
        with streaming(node, 5000) as seen:
            engine_id = node.status()["engine"]["process_id"]
            os.kill(engine_id, signal.SIGKILL)
            assert httpx.get(f"{node.url}/healthz").status_code == 200
        assert _contents(seen) == _contents(undisturbed)
        status = node.status()
        assert status["engine"]["restarts"] == 1
        assert status["engine"]["process_id"] != engine_id
        answer = httpx.post(
            f"{node.url}/v1/completions", headers=node.headers, json={"model": "fake", "prompt": "and now?"}
        )
        assert answer.status_code == 200
        assert node.process.poll() is None


def test_a_killed_daemon_leaves_nothing_running_and_the_next_start_recovers(home: Home) -> None:
    with running_node(home, "--backend", "fake", OPENLEDGER_INFERENCE_CONTEXT_MAX="1000000") as node:
        with streaming(node, 900_000):
            engine_id = node.status()["engine"]["process_id"]
            node.signal(signal.SIGKILL)
            node.wait()
        wait_for(lambda: not is_alive(engine_id), within_s=10)
    assert command_json(home, "status")["state"] == "stopped"
    with running_node(home, "--backend", "fake") as node:
        assert [job["state"] for job in node.jobs()] == ["interrupted"]
        assert "1 request" in (home.root / "start.log").read_text()
        body = {"model": "fake", "prompt": "again"}
        assert httpx.post(f"{node.url}/v1/completions", headers=node.headers, json=body).status_code == 200


def test_a_second_daemon_on_the_same_home_is_refused(home: Home) -> None:
    with running_node(home, "--backend", "fake"):
        second = start_process(home, "--backend", "fake")
        assert second.wait(START_TIMEOUT_S) == 3
        assert "already runs" in (home.root / "start.log").read_text()


def test_a_taken_port_says_what_to_do(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.root.mkdir()
    with running_node(home, "--backend", "fake") as node:
        port = node.url.rpartition(":")[2]
        second = start_process(other, "--backend", "fake", "--port", port)
        assert second.wait(START_TIMEOUT_S) == 3
        assert "--port" in (other.root / "start.log").read_text()


def test_the_control_socket_stops_the_node_and_answers_first(home: Home) -> None:
    with running_node(home, "--backend", "fake") as node:
        command = [sys.executable, "-m", "openledger_node", "stop"]
        told = subprocess.run(command, env=node_environment(home), capture_output=True, text=True, check=True)
        assert "stopping" in told.stderr
        assert node.wait() == 0


def _contents(lines: list[str]) -> str:
    return "".join(line.split('"content":"', 1)[1].split('"', 1)[0] for line in lines if '"content":"' in line)


@pytest.mark.parametrize("num_signals", [1, 2])
def test_a_client_that_stops_reading_does_not_keep_the_node_from_ending(home: Home, num_signals: int) -> None:
    environment = {"OPENLEDGER_INFERENCE_CONTEXT_MAX": "1000000", "OPENLEDGER_NODE_DRAIN_GRACE_S": "0.2"}
    body = json.dumps({"model": "fake", "messages": ENDLESS, "max_tokens": 500_000, "stream": True})
    with running_node(home, "--backend", "fake", **environment) as node, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(node.url.rpartition(":")[2])))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {node.key}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_for_status(home, node.process, lambda found: found["requests"]["running"] == 1)
        threading.Event().wait(1.0)  # until the buffers on both sides are full: nothing else tells
        for _ in range(num_signals):
            node.signal(signal.SIGINT)
            threading.Event().wait(0.3)
        assert node.wait() == 0
    (job,) = command_json(home, "jobs")["jobs"]
    assert (job["state"], job["finish_reason"]) == ("completed", "cancelled")


def test_a_closed_terminal_drains_the_node_too(home: Home) -> None:
    with running_node(home, "--backend", "fake") as node:
        node.signal(signal.SIGHUP)
        assert node.wait() == 0
        assert not home.socket.exists()
