"""Steps of the demo in their order: data, adapters, answers, money."""

import json
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from ..api_key import load_api_key
from ..datanets.rows import write_rows
from ..home import Home as NodeHome
from .people import Question, Subject
from .processes import DemoError, OperatorHome, wait_for
from .town import Town

FINAL_TIMEOUT_S: Final = 120.0
WITHDRAW_TIMEOUT_S: Final = 120.0
ANSWER_TIMEOUT_S: Final = 120.0
ANSWER_TOKENS_MAX: Final = 40
QUESTIONS_MAX: Final = 12
RIGHT_MIN: Final = 6
"""Right answers to reach; questions are asked until then, at most `QUESTIONS_MAX`."""

OWNED_OF_SIX: Final = 5
"""Of six right answers, this many must pay the most to the contributor who taught the fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoughtAnswer:
    """One answer that R bought."""

    subject: str
    question: Question
    text: str
    ttft_ms: float
    tokens: int

    @property
    def is_right(self) -> bool:
        """True if the answer states the fact."""
        return self.question.value in self.text


@dataclass(kw_only=True)
class Story:
    """The steps of the demo, and their results so far."""

    town: Town
    training: list[dict[str, float]] = field(default_factory=list)
    transfers: list[dict[str, Any]] = field(default_factory=list)
    answers: list[BoughtAnswer] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)

    def teach(self, subject: Subject) -> None:
        """Fill a Datanet, publish it, train an adapter on it, and register the adapter, with A's commands."""
        a, folder = self.town.a, self.town.root / subject.name
        folder.mkdir(exist_ok=True)
        rows, held_out = folder / "rows.jsonl", folder / "held-out.jsonl"
        write_rows(rows, subject.sample.rows)
        write_rows(held_out, subject.sample.held_out)
        accounts = [word for who, account in subject.accounts.items() for word in ("--account", f"{who}={account}")]
        a.run("datanet", "create", subject.name, "--licence", "CC0-1.0", "--owner-share", "10")
        batch = a.run("datanet", "contribute", subject.name, str(rows), *accounts)
        a.run("datanet", "approve", subject.name, batch["digest"])
        a.run("datanet", "publish", subject.name)
        people = f"{batch['rows']} rows of {len(subject.accounts)} people"
        self.town.say(f"datanet   {subject.name}: {people} are published")
        words = ["--datanet", subject.name, "--held-out", str(held_out), "--seed", str(subject.seed)]
        trained = a.run("factory", "train", "--name", subject.name, "--evaluate", "0", *words)
        self.training.append({"loss_before": trained["loss_before"], "loss_after": trained["loss_after"]})
        losses = f"held-out loss {trained['loss_before']:.3f} → {trained['loss_after']:.3f}"
        self.town.say(f"factory   {subject.name} in {trained['duration_s']:.0f} s: {losses}")
        a.run("adapters", "publish", subject.name)

    def move(self, subject: Subject) -> None:
        """Let B download an adapter from A; then A removes its copy."""
        town = self.town
        pulled = wait_for(
            f"B knows {subject.name}", lambda: _attempt(town.b, "adapters", "pull", subject.name), timeout_s=90.0
        )
        to_peer = town.b.run("status")["peer_id"]
        self.transfers.append(
            {
                "digest": pulled["digest"],
                "from_peer": pulled["from_peer"],
                "to_peer": to_peer,
                "bytes": pulled["bytes"],
                "s": pulled["duration_s"],
            }
        )
        # R may still have A's older advertisement, so B's must have arrived before A can't serve the adapter.
        wait_for(
            f"R knows that B offers {subject.name}", partial(self._is_offered_by, to_peer, subject), timeout_s=90.0
        )
        town.a.run("adapters", "remove", subject.name, "--yes")
        size, took = f"{pulled['bytes']:,} bytes", f"{pulled['duration_s']:.2f} s"
        town.say(f"adapters  B fetched {subject.name} from A: {size} in {took}")

    def ask(self, subjects: tuple[Subject, ...]) -> None:
        """Let R ask both adapters through its OpenAI endpoint until enough answers are right."""
        for subject in subjects:
            wait_for(f"R knows {subject.name}", partial(self._is_offered, subject), timeout_s=90.0)
        turns = zip(*(subject.questions() for subject in subjects), strict=False)
        for turn in turns:
            for subject, question in zip(subjects, turn, strict=True):
                self.answers.append(self._ask(subject, question))
            if self._is_enough() or len(self.answers) >= QUESTIONS_MAX:
                break
        right = sum(answer.is_right for answer in self.answers)
        self.town.say(f"answers   R asked {len(self.answers)} questions, {right} answers state the fact")

    def settle(self) -> None:
        """Claim, wait for the review period, and withdraw, with the commands of A and B."""
        for node in (self.town.a, self.town.b):
            node.run("rewards", "claim")
        for node in (self.town.a, self.town.b):
            try:
                wait_for(f"{node.name}'s claims are final", partial(_all_final, node), timeout_s=FINAL_TIMEOUT_S)
            except DemoError as error:
                rewards = node.run("rewards", "show")
                states = (
                    ", ".join(f"claim {claim['seq']} {claim['state']}" for claim in rewards["claims"]) or "no claim"
                )
                waiting = f"{rewards['num_unclaimed']} receipts in no claim ({rewards['why_not_claimed']})"
                raise DemoError(f"{error}: {states}; {waiting}") from error
            node.run("rewards", "withdraw")
        self.town.say("money     A and B claimed, proposed payout lists, waited for the review period and withdrew")

    def withdraw_deposits(self) -> None:
        """Let R take back what it did not spend."""
        r = self.town.r
        channels = r.run("channels", "list")["channels"]
        for channel in channels:
            r.run("channels", "close", channel["channel_id"])
        for channel in channels:
            wait_for(
                "R's deposit is free",
                partial(_attempt, r, "channels", "withdraw", channel["channel_id"]),
                timeout_s=WITHDRAW_TIMEOUT_S,
            )
        self.town.say(f"money     R took back the rest of its deposits in {len(channels)} channels")

    def attribution(self) -> list[dict[str, Any]]:
        """List for each answer the contributor who taught the fact, and the shares in its receipt."""
        receipts = self.town.r.run("attribution", "show", "--limit", "100")["receipts"]
        self.receipts = [self.town.r.run("attribution", "show", each["digest"]) for each in receipts][::-1]
        return [
            {
                "request_id": receipt["request_id"],
                "owner_of_fact": answer.question.owner,
                "is_right": answer.is_right,
                "shares_ppm": {share["account"]: share["ppm"] for share in receipt["shares"]},
            }
            for answer, receipt in zip(self.answers, self.receipts, strict=True)
        ]

    # ---- The endpoint of R

    def _is_enough(self) -> bool:
        return sum(answer.is_right for answer in self.answers) >= RIGHT_MIN

    def _is_offered(self, subject: Subject) -> bool:
        with _client(self.town.r) as client:
            models = client.get("/v1/models").json()["data"]
        return any(model["id"] == subject.name for model in models)

    def _is_offered_by(self, peer_id: str, subject: Subject) -> bool:
        peers = self.town.r.run("peers", "list")["peers"]
        return any(peer["peer_id"] == peer_id and subject.name in peer["adapters"] for peer in peers)

    def _ask(self, subject: Subject, question: Question) -> BoughtAnswer:
        body = {
            "model": subject.name,
            "messages": [{"role": "user", "content": question.text}],
            "max_tokens": ANSWER_TOKENS_MAX,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        started_s, first_s, texts, tokens = time.monotonic(), None, [], 0
        with _client(self.town.r) as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.is_error:
                response.read()
                raise DemoError(f"R's endpoint refuses {subject.name}: {response.json()['error']['message']}")
            for event in _events(response):
                if "error" in event:
                    raise DemoError(f"R's answer from {subject.name} broke: {event['error']['message']}")
                text = event["choices"][0]["delta"].get("content", "") if event["choices"] else ""
                if text and first_s is None:
                    first_s = time.monotonic()
                texts.append(text)
                tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        if first_s is None:
            raise DemoError(f"{subject.name} answered nothing to {question.text!r}")
        return BoughtAnswer(
            subject=subject.name,
            question=question,
            text="".join(texts),
            ttft_ms=round((first_s - started_s) * 1000, 1),
            tokens=tokens,
        )


def check_owned(attribution: list[dict[str, Any]]) -> None:
    """Check that at least five of six right answers pay the most to the contributor who taught the fact.

    Raises:
        DemoError: they do not, or too few answers are right.
    """
    right = [each for each in attribution if each["is_right"]]
    if len(right) < RIGHT_MIN:
        raise DemoError(f"answers: {len(right)} of {len(attribution)} state the fact, but {RIGHT_MIN} must")
    owned = sum(_is_owned(each) for each in right)
    if owned * 6 < OWNED_OF_SIX * len(right):
        raise DemoError(
            f"attribution: {owned} of {len(right)} right answers pay the most to the contributor who taught it"
        )


def _is_owned(each: dict[str, Any]) -> bool:
    shares = each["shares_ppm"]
    return bool(shares) and max(shares, key=shares.get) == each["owner_of_fact"]


def _client(home: OperatorHome) -> httpx.Client:
    key = load_api_key(NodeHome(Path(home.root)))
    url = home.run("status")["api"]["url"]
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=ANSWER_TIMEOUT_S)


def _events(response: httpx.Response) -> Any:
    for line in response.iter_lines():
        content = line.removeprefix("data: ")
        if content and content != "[DONE]":
            yield json.loads(content)


def _attempt(home: OperatorHome, *words: str) -> Any:
    """Run a command; return None if it fails for now."""
    try:
        return home.run(*words)
    except DemoError:
        return None


def _all_final(home: OperatorHome) -> bool:
    rewards = home.run("rewards", "show")
    states = {claim["state"] for claim in rewards["claims"]}
    return states <= {"final", "refused"} and "final" in states and not rewards["num_unclaimed"]
