"""A network of processes that are killed or paused in the middle of answers that are paid for, and started again.

Every request is served whole or fails with an error that says to try again, no file has a word of it in plain text,
and the money adds up to the wei afterwards.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from network.replies import Reply
from network.running_network import RunningNetwork, ask, node_of, running_network, status_of, tell
from support.canary import files_with
from support.processes.nodes import POLL_S, wait_for
from support.tiers import depth

from openledger_node.audit.report import audit
from openledger_node.demo.processes import OperatorHome
from openledger_node.home import Home as NodeHome
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.receipts import ReceiptRow
from openledger_node.plugs import load_plug

pytestmark = pytest.mark.process

STREAMS = depth(light=(2_000, 2_500), deep=(3_000, 4_000, 3_000, 4_000))
PROMPT, ANSWER = "Zq7-prompt-plover-4471", "Zq7-answer-kestrel-9038"
TRIES_MAX = 5
RETRYABLE = {"unavailable", "engine_failed", "rate_limit_exceeded"}
RECEIPTS_MAX = 1_000
CHUNK_TOKENS = 32
RISKED_TOKENS = 2 * CHUNK_TOKENS * len(STREAMS)
"""The most that is charged and not delivered when the stream of an answer breaks.

Streams at one node share a ceiling that is a chunk above each of them, and one may use what was meant for the others.
Streams that an earlier kill broke leave as much again, until the node has shown their receipts on the next stream.
What a node had sent and charged when its stream broke, another gives once more.
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    with running_network(tmp_path_factory.mktemp("running")) as found:
        yield found


def check_replies(running: RunningNetwork, replies: list[Reply]) -> None:
    """Require that each was served whole, or failed with an error that says to try again."""
    for reply in replies:
        assert running.whole.startswith(reply.text), "nothing is missing in the middle, and nothing came twice"
        assert reply.is_whole or is_retryable(reply), reply


def is_retryable(reply: Reply) -> bool:
    return bool(reply.error) and reply.error["code"] in RETRYABLE and reply.status in (200, 429, 503)


def served(running: RunningNetwork, *max_tokens: int) -> list[Reply]:
    """Have requests served with nobody in the way."""
    with running.asking(*max_tokens) as replies:
        pass
    assert all(reply.is_whole for reply in replies), replies
    return replies


def retried(running: RunningNetwork, max_tokens: int) -> Reply:
    """Ask as a client does that tries again for as long as it is told to."""

    def find() -> Reply | None:
        with running.asking(max_tokens) as (reply,):
            pass
        return None if is_retryable(reply) else reply

    return wait_for(find)


@contextmanager
def answering(running: RunningNetwork) -> Iterator[tuple[OperatorHome, list[Reply]]]:
    """A seller whose engine is at work, and the requests that run; asked anew if no engine was seen at work.

    What an engine does shows half a second late, and the fake one is soon ahead of those that are being paid for.
    """
    for _ in range(TRIES_MAX):
        with running.asking(*STREAMS) as replies:
            while not all(reply.has_ended for reply in replies):
                if victim := next((node for node in running.sellers if status_of(node)["requests"]["running"]), None):
                    yield victim, replies
                    return
                threading.Event().wait(POLL_S)
    raise AssertionError("no engine was seen at work")


def test_answers_of_a_killed_node_go_on_at_the_other_and_it_serves_again_later(running: RunningNetwork) -> None:
    with answering(running) as (victim, replies):
        running.kill_node(victim)
    check_replies(running, replies)
    assert any(reply.is_whole for reply in replies)
    victim.start_daemon()
    running.wait_until_among_others(victim)
    served(running, 500, 500)


def test_a_requester_that_was_killed_asks_on_by_the_channels_that_it_had(running: RunningNetwork) -> None:
    before = {channel["channel_id"] for channel in ask(running.r, "channels")["channels"]}
    with running.asking(*STREAMS) as replies:
        running.kill_node(running.r)
    assert all(reply.is_cut and running.whole.startswith(reply.text) for reply in replies)
    running.r.start_daemon()
    check_replies(running, [retried(running, 500)])
    running.wait_until_among_others(running.r)
    served(running, 500, 500)
    assert {channel["channel_id"] for channel in ask(running.r, "channels")["channels"]} == before


def test_what_is_bought_of_another_node_is_in_no_file_of_either(running: RunningNetwork) -> None:
    """Both keep what was said for an audit: sealed."""
    schema = {"type": "json_schema", "json_schema": {"name": "said", "schema": {"const": ANSWER}}}
    body = {"model": "fake", "messages": [{"role": "user", "content": f"Say {PROMPT}"}], "response_format": schema}
    running.wait_until_among_others(running.r)
    with node_of(running.r).client() as client:
        answer = client.post("/v1/chat/completions", json={**body, "max_tokens": 60})
    assert answer.status_code == 200, answer.text
    assert ANSWER in answer.text
    assert files_with(PROMPT, running.root) == files_with(ANSWER, running.root) == []


def test_while_the_chain_is_away_answers_end_retryably_and_money_goes_on_with_it(running: RunningNetwork) -> None:
    port = int(running.network.rpc[0].rpartition(":")[2])
    with running.asking(*STREAMS) as replies:
        # Its work is done in a child of its own, which ends first.
        threads = Path(f"/proc/{running.chain.process_id}/task").glob("*/children")
        for child in [int(child) for thread in threads for child in thread.read_text().split()]:
            os.kill(child, signal.SIGKILL)
        running.chain.kill()
        running.chain.close()
    check_replies(running, replies)
    with running.asking(500, 500) as without:
        pass
    check_replies(running, without)
    wait_for(lambda: status_of(running.r)["chain"] == "down")
    block = running.start_chain(port)
    assert block["genesis_hash"] == running.network.genesis_hash
    for node in running.nodes:
        wait_for(lambda node=node: status_of(node)["chain"] == "ok")
    served(running, 500, 500)


@pytest.fixture
def ledgers(running: RunningNetwork) -> Iterator[dict[str, Ledger]]:
    """What A, B and R have written, by their names."""
    with ExitStack() as opened:
        yield {
            node.name: opened.enter_context(
                closing(open_ledger(NodeHome(node.root).ledger(running.network.network), is_writer=False))
            )
            for node in running.nodes
        }


def test_after_all_of_it_nothing_was_paid_twice(running: RunningNetwork, ledgers: dict[str, Ledger]) -> None:
    wait_for(lambda: is_agreed(running, ledgers))
    for node in running.sellers:
        wait_for(partial(all_is_final, node))
        check_claims(ledgers[node.name])
    check_receipts(running, ledgers)
    earners = [node for node in running.sellers if ledgers[node.name].claims.newest(limit=1)]
    assert earners, "somebody was paid for all those answers"
    for node in earners:
        node.run("rewards", "withdraw")
        earned = wait_for(partial(withdrawn, node))
        assert (earned["withdrawn_wei"], earned["balance_wei"]) == (earned["credited_wei"], "0")
    with closing(load_plug("chain", "evm")(running.network.rpc[0])) as client:
        report = audit(client, running.network)
    assert report.holds, report


def is_agreed(running: RunningNetwork, ledgers: dict[str, Ledger]) -> bool:
    """Whether R knows all that it was charged; a receipt that it lost shows with the next one on its channel."""
    bought = {row.channel_id: row.charged_wei for row in ledgers["R"].channels.all()}
    is_whole = True
    for node, other in (running.sellers, running.sellers[::-1]):
        (row,) = ledgers[node.name].channels.all()
        assert bought[row.channel_id] <= row.charged_wei
        if bought[row.channel_id] != row.charged_wei:
            tell(other, "/pause")  # else the faster one would answer each time
            served(running, 100)
            tell(other, "/resume")
            running.wait_until_among_others(running.r)
            is_whole = False
    return is_whole


def all_is_final(node: OperatorHome) -> bool:
    rewards = ask(node, "rewards")
    return {claim["state"] for claim in rewards["claims"]} <= {"final", "refused"} and not rewards["num_unclaimed"]


def withdrawn(node: OperatorHome) -> dict[str, Any] | None:
    earned: dict[str, Any] = ask(node, "earnings")
    return earned if earned["balance_wei"] == "0" and earned["withdrawn_wei"] != "0" else None


def check_claims(ledger: Ledger) -> None:
    """Require that each receipt is in exactly one claim that counts, and that the claims are worth their sum."""
    receipts = ledger.receipts.newest(limit=RECEIPTS_MAX)
    counting = [claim for claim in ledger.claims.newest(limit=RECEIPTS_MAX) if claim.state == "final"]
    claimed = [row.digest for claim in counting for row in ledger.receipts.of_claim(claim.claim_id)]
    assert sorted(claimed) == sorted(row.digest for row in receipts)
    assert sum(claim.gross_wei for claim in counting) == sum(row.receipt.amount_wei for row in receipts)


def check_receipts(running: RunningNetwork, ledgers: dict[str, Ledger]) -> None:
    """Require that payer and node keep the same receipts, and that no answer was charged twice."""
    sold = [row for node in running.sellers for row in receipts_of(ledgers[node.name])]
    bought = {row.digest: row.receipt for row in receipts_of(ledgers["R"])}
    assert bought.items() <= {row.digest: row.receipt for row in sold}.items()
    for channel in ledgers["R"].channels.all():
        amounts = [row.receipt.amount_wei for row in sold if row.receipt.channel_id == channel.channel_id]
        assert sum(amounts) == channel.charged_wei <= channel.ceiling_wei
    assert set(Counter((row.receipt.work.request_id, row.receipt.channel_id) for row in sold).values()) == {1}
    charged = Counter[str]()
    for row in sold:
        charged[row.receipt.work.request_id] += row.receipt.work.tokens_out
    for reply in running.replies:
        assert charged[reply.request_id or ""] <= reply.max_tokens + RISKED_TOKENS


def receipts_of(ledger: Ledger) -> list[ReceiptRow]:
    return ledger.receipts.newest(limit=RECEIPTS_MAX)
