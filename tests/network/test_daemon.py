"""A node's life and death, as an operator sees it: a real process on the fake backend."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from network.replies import streaming
from support.canary import files_with
from support.commands import run_command
from support.processes import nodes
from support.processes.nodes import command_json, is_alive, node_environment, running_node, wait_for, wait_for_status

from openledger_node.home import Home

pytestmark = pytest.mark.process

CANARY = "Zq7-prompt-plover-4471"
ENDLESS = f"{CANARY}..."
MESSAGES = [{"role": "user", "content": ENDLESS}]
CONFIG_ERROR = 3
LONG = {"OPENLEDGER_INFERENCE_CONTEXT_MAX": "1000000"}


def start_in_vain(home: Home, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Start a node that is to refuse."""
    return run_command("start", "--backend", "fake", "--no-hello", *flags, env=node_environment(home))


def check_jobs(home: Home, *ends: tuple[str, str]) -> None:
    """Require how the newest requests ended."""
    jobs = command_json(home, "jobs")["jobs"]
    assert [(job["state"], job["finish_reason"]) for job in jobs[: len(ends)]] == list(ends)


def test_a_draining_node_ends_though_its_engine_hangs_and_a_client_reads_nothing(home: Home) -> None:
    with (
        running_node(home, "--backend", "fake", **LONG, OPENLEDGER_NODE_DRAIN_GRACE_S="3") as node,
        client_that_reads_nothing(node),
        streaming(node, 900_000, prompt=ENDLESS) as seen,
    ):
        os.kill(node.status()["engine"]["process_id"], signal.SIGSTOP)
        node.signal(signal.SIGTERM)
        wait_for_status(home, node.process, lambda found: found["state"] == "draining")
        body = {"model": "fake", "messages": MESSAGES}
        response = httpx.post(f"{node.url}/v1/chat/completions", headers=node.headers, json=body)
        assert response.status_code == 503
        assert "Retry-After" in response.headers
        assert node.wait() == 0
    check_jobs(home, ("completed", "cancelled"), ("completed", "cancelled"))
    assert (seen.finish_reason, seen.is_cut) == ("length", False)


@contextlib.contextmanager
def client_that_reads_nothing(node: nodes.Node) -> Iterator[None]:
    body = json.dumps({"model": "fake", "messages": MESSAGES, "max_tokens": 500_000, "stream": True})
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(node.url.rpartition(":")[2])))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {node.key}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_for_status(node.home, node.process, lambda found: found["requests"]["running"] == 1)
        unread, ports = [0], (client.getpeername()[1], client.getsockname()[1])

        def can_send_no_more() -> bool:
            unread.append(unacknowledged_bytes(*ports))
            return unread[-1] == unread[-2] > 0

        wait_for(can_send_no_more)
        yield


def unacknowledged_bytes(local_port: int, remote_port: int) -> int:
    """Bytes that a process of this machine has sent on a connection, and that the other side hasn't taken."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if local.endswith(f":{local_port:04X}") and remote.endswith(f":{remote_port:04X}"):
            return int(queues.partition(":")[0], 16)
    return 0


def test_a_closed_terminal_drains_the_node_and_a_second_signal_ends_it_at_once_and_still_records(home: Home) -> None:
    with running_node(home, "--backend", "fake", **LONG) as node, streaming(node, 900_000, prompt=ENDLESS):
        node.signal(signal.SIGHUP)
        wait_for_status(home, node.process, lambda found: found["state"] == "draining")
        node.signal(signal.SIGINT)
        assert node.wait() == 0
    check_jobs(home, ("completed", "cancelled"))


def test_a_killed_engine_is_replaced_and_its_answer_goes_on_where_it_was(home: Home, tmp_path: Path) -> None:
    """Beside this node no second one starts on its home or its port; Ctrl-C lets a running answer end."""
    with running_node(home, "--backend", "fake", OPENLEDGER_INFERENCE_CONTEXT_MAX="8000") as node:
        with streaming(node, 5000, prompt=ENDLESS) as undisturbed:
            pass
        with streaming(node, 5000, prompt=ENDLESS) as seen:
            engine_id = node.status()["engine"]["process_id"]
            os.kill(engine_id, signal.SIGKILL)
            assert httpx.get(f"{node.url}/healthz").status_code == 200
        assert seen.text == undisturbed.text
        status = node.status()
        assert (status["engine"]["restarts"], status["engine"]["process_id"] != engine_id) == (1, True)

        second = start_in_vain(home, "--port", "0")
        assert (second.returncode, "already runs" in second.stderr) == (CONFIG_ERROR, True), second.stderr
        other = Home(tmp_path / "other")
        other.root.mkdir()
        third = start_in_vain(other, "--port", node.url.rpartition(":")[2])
        assert (third.returncode, "--port" in third.stderr) == (CONFIG_ERROR, True), third.stderr

        with streaming(node, 3000, prompt=ENDLESS) as last:
            node.signal(signal.SIGINT)
            assert node.wait() == 0
    assert last.is_whole
    check_jobs(home, ("completed", "length"))
    assert not home.socket.exists()


def test_a_killed_node_leaves_no_process_and_no_word_of_its_answer_and_the_next_start_recovers(home: Home) -> None:
    with running_node(home, "--backend", "fake", **LONG) as node:
        with streaming(node, 900_000, prompt=ENDLESS):
            engine_id = node.status()["engine"]["process_id"]
            node.signal(signal.SIGKILL)
            node.wait()
        wait_for(lambda: not is_alive(engine_id), within_s=10)
    assert files_with(CANARY, home.root) == []
    assert command_json(home, "status")["state"] == "stopped"
    with running_node(home, "--backend", "fake") as node:
        assert [job["state"] for job in node.jobs()] == ["interrupted"]
        assert "1 request" in (home.root / "start.log").read_text()
        body = {"model": "fake", "prompt": "again"}
        assert httpx.post(f"{node.url}/v1/completions", headers=node.headers, json=body).status_code == 200
        assert "stopping" in run_command("stop", env=node_environment(home)).stderr
        assert node.wait() == 0
    assert files_with(CANARY, home.root) == []
