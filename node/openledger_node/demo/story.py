"""Steps of the demo in their order: data, adapters, answers, money."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx

from openledger_protocol.constants import DEMO_BASE_NAME

from ..api_key import load_api_key
from ..datanets.rows import write_rows
from ..home import Home
from .people import Question, Subject, choose_questions
from .processes import DemoError, OperatorHome, together, wait_for
from .telling import AskedQuestion, Teacher
from .town import STAKE, Town

HEARD_TIMEOUT_S: Final = 90.0
MINED_TIMEOUT_S: Final = 180.0
FINAL_TIMEOUT_S: Final = 120.0
WITHDRAW_TIMEOUT_S: Final = 120.0
DEPOSIT: Final = "1"
WITHDRAW_DELAY_S: Final = "15"
"""Seconds from R's wish to have its deposits back until it can; long enough for the sellers to claim theirs first."""

RIGHT_MIN: Final = 6
"""Of the answers, so many must state the fact."""

OWNED_OF_SIX: Final = 5
"""Of six right answers, this many must pay the most to the contributor who taught the fact."""

ANSWER_TIMEOUT_S: Final = 120.0
ANSWER_TOKENS_MAX: Final = 40
BASE_TOKENS_MAX: Final = 24
"""A line and a half of the base's answer show that it guesses. Its tokens take most of the engines' time."""
ID_PREFIX: Final = "chatcmpl-"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoughtAnswer:
    """One answer that R bought."""

    subject: str
    question: Question
    request_id: str
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
    subjects: Sequence[Subject]
    trains: bool = False
    training: list[dict[str, float]] = field(default_factory=list)
    transfers: list[dict[str, Any]] = field(default_factory=list)
    answers: list[BoughtAnswer] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)  # of the answers, in their order

    # ---- Data and adapters

    def teach(self) -> None:
        """Publish a Datanet and an adapter for each subject; meanwhile the sellers bond stakes and R pays in."""
        town, names = self.town, " and ".join(subject.name for subject in self.subjects)
        town.doing("datanets  publishing them, while A and B bond and R pays in")
        together(
            self._publish_datanets,
            self._add_adapters,
            self._pay_in,
            *(partial(node.run, "stake", "add", STAKE) for node in (town.a, town.b)),
        )
        town.say(f"stake     A and B bond {STAKE} OPEN each, which they lose if they cheat")
        for subject in self.subjects:
            people = ", ".join(subject.people.values())
            town.say(f"datanets  {subject.name}: {len(subject.sample.rows)} rows by {people}")
        if self.trains:
            self._train_adapters()
        town.doing(f"adapters  publishing {names}")
        *others, last = self.subjects
        self._publish_adapter(last)
        together(*(partial(self._publish_adapter, subject) for subject in others), partial(self._move, last))
        how = "trained just now" if self.trains else "trained before"
        town.say(f"adapters  {names}, {how} on these rows, are registered by A")
        moved = self.transfers[0]
        took = f"{moved['bytes'] / 1e6:.1f} MB in {moved['s']:.2f} s"
        town.say(f"transfer  B fetched {last.name} from A, {took}, and A deleted its copy")

    def _publish_datanets(self) -> None:
        a = self.town.a
        for subject in self.subjects:
            a.run("datanet", "create", subject.name, "--licence", "CC0-1.0", "--owner-share", "10", "--no-wait")
        for subject in self.subjects:
            self._fill(subject)
            self._until_accepted(a, "datanet", "publish", subject.name)

    def _add_adapters(self) -> None:
        if self.trains:
            return
        for subject in self.subjects:
            added = self.town.a.run("adapters", "add", "--sample", subject.name)
            self.training.append(_losses(added["manifest"]["evaluation"]))

    def _train_adapters(self) -> None:
        town = self.town
        for subject in self.subjects:
            town.doing(f"factory   training {subject.name}, which takes minutes")
            held_out = town.root / subject.name / "held-out.jsonl"
            write_rows(held_out, subject.sample.held_out)
            words = ["--datanet", subject.name, "--held-out", str(held_out), "--seed", str(subject.seed)]
            trained = town.a.run("factory", "train", "--name", subject.name, "--evaluate", "0", *words)
            self.training.append(_losses(trained))
            fell = f"held-out loss {trained['loss_before']:.3f} → {trained['loss_after']:.3f}"
            town.say(f"factory   {subject.name} in {trained['duration_s']:.0f} s: {fell}")

    def _publish_adapter(self, subject: Subject) -> None:
        self._until_accepted(self.town.a, "adapters", "publish", subject.name)

    def _fill(self, subject: Subject) -> None:
        a, folder = self.town.a, self.town.root / subject.name
        folder.mkdir(exist_ok=True)
        rows = folder / "rows.jsonl"
        write_rows(rows, subject.sample.rows)
        accounts = [
            word for who, account in subject.sample.accounts.items() for word in ("--account", f"{who}={account}")
        ]
        batch = a.run("datanet", "contribute", subject.name, str(rows), *accounts, "--yes")
        a.run("datanet", "approve", subject.name, batch["digest"])

    def _pay_in(self) -> None:
        """Open a channel from R to each seller, one after the other, because each needs the wallet's next nonce."""
        for seller in (self.town.a, self.town.b):
            words = ["channels", "open", seller.status()["address"], DEPOSIT]
            self._until_accepted(self.town.r, *words, "--withdraw-delay-s", WITHDRAW_DELAY_S)

    def _until_accepted(self, node: OperatorHome, *words: str) -> Any:
        """Run a command again until it is accepted: what it needs may be on the chain only in a moment."""
        refused: list[DemoError] = []

        def attempt() -> Any:
            try:
                return node.run(*words)
            except DemoError as error:
                refused.append(error)
                return None

        try:
            return wait_for(f"{node.name}: {' '.join(words[:2])}", attempt, timeout_s=MINED_TIMEOUT_S)
        except DemoError as error:
            raise refused[-1] from error

    def _move(self, subject: Subject) -> None:
        """Let B download an adapter from A; then A removes its copy."""
        town = self.town
        pulled = wait_for(
            f"B knows {subject.name}",
            lambda: _attempt(town.b, "adapters", "pull", subject.name),
            timeout_s=HEARD_TIMEOUT_S,
        )
        to_peer = town.b.status()["peer_id"]
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
        offers = partial(self._is_offered_by, to_peer, subject)
        wait_for(f"R knows that B offers {subject.name}", offers, timeout_s=HEARD_TIMEOUT_S)
        town.a.run("adapters", "remove", subject.name, "--yes")

    def _is_offered_by(self, peer_id: str, subject: Subject) -> bool:
        peers = self.town.r.ask("/money/peers")["peers"]
        return any(peer["peer_id"] == peer_id and subject.name in peer["adapters"] for peer in peers)

    # ---- Answers

    def ask(self) -> None:
        """Let R ask about all subjects side by side; the base of the node that sells is asked, too, which is free."""
        town = self.town
        names = {subject.name for subject in self.subjects}
        wait_for("R knows both adapters", lambda: names <= set(_offered_models(town.r)), timeout_s=HEARD_TIMEOUT_S)
        town.say("questions R has no model: it asks the network, and pays per token")
        num_guessed = 0
        for questions in choose_questions(self.subjects):
            first = len(self.answers) + 1
            town.doing(f"questions {first} and {first + 1}")
            pairs = zip(self.subjects, questions, strict=True)
            asked = together(*(partial(self._ask, subject, question) for subject, question in pairs))
            for subject, told in zip(self.subjects, asked, strict=True):
                self.answers.append(told.bought)
                self.receipts.append(told.receipt)
                num_guessed += told.bought.question.value in told.base_text
                town.tell(_asked(told, subject, len(self.answers)))
        right = sum(answer.is_right for answer in self.answers)
        town.say(f"answers   {right} of {len(self.answers)} state the fact; of the base alone, {num_guessed} do")

    def _ask(self, subject: Subject, question: Question) -> "_Answered":
        seller = (self.town.a, self.town.b)[self.subjects.index(subject)]
        base_text: list[str] = []
        bought, _ = together(
            partial(_buy_answer, self.town.r, subject.name, question),
            lambda: base_text.append(_ask_seller(seller, question)),
        )
        assert bought is not None
        receipt = wait_for(
            f"R has the receipt for {question.text!r}",
            partial(_receipt_of, self.town.r, bought),
            timeout_s=HEARD_TIMEOUT_S,
        )
        return _Answered(bought=bought, receipt=receipt, seller=seller.name, base_text=base_text[0])

    def attribution(self) -> list[dict[str, Any]]:
        """List for each answer the contributor who taught the fact, and the shares in its receipt."""
        return [
            {
                "request_id": receipt["request_id"],
                "owner_of_fact": answer.question.owner,
                "is_right": answer.is_right,
                "shares_ppm": {share["account"]: share["ppm"] for share in receipt["shares"]},
            }
            for answer, receipt in zip(self.answers, self.receipts, strict=True)
        ]

    # ---- Money

    def settle(self) -> None:
        """Claim, wait for the review period, and withdraw; meanwhile R takes back what it did not spend."""
        self.town.doing("money     A and B claim, and payout lists are public for 10 s")
        sellers = (self.town.a, self.town.b)
        together(*(partial(self._claim, node) for node in sellers), self._take_back)
        self.town.say("money     A and B claimed, published who is owed what, and were paid")
        self.town.say("money     R has the rest of its deposits back")

    def _claim(self, node: OperatorHome) -> None:
        node.run("rewards", "claim", "--no-wait")
        try:
            wait_for(f"{node.name}'s claims are final", partial(_all_final, node), timeout_s=FINAL_TIMEOUT_S)
        except DemoError as error:
            raise DemoError(f"{error}: {_why_not_final(node)}") from error
        node.run("rewards", "withdraw")

    def _take_back(self) -> None:
        r = self.town.r
        channels = [channel["channel_id"] for channel in r.ask("/money/channels")["channels"]]
        for channel in channels:
            r.run("channels", "close", channel, "--no-wait")
        for channel in channels:
            wait_for("R's deposit is free", partial(_is_free, r, channel), timeout_s=WITHDRAW_TIMEOUT_S)
            self._until_accepted(r, "channels", "withdraw", channel)


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


def _losses(found: dict[str, Any]) -> dict[str, float]:
    return {name: found[name] for name in ("loss_before", "loss_after")}


def _receipt_of(node: OperatorHome, answer: BoughtAnswer) -> Any:
    """The receipt of an answer, or None while it is on its way."""
    digests = [
        each["digest"]
        for each in node.ask("/money/receipts", {"limit": 100})["receipts"]
        if each["request_id"] == answer.request_id
    ]
    return node.ask("/money/receipt", {"receipt": digests[0]}) if digests else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """A bought answer, its receipt, and the answer of the seller's own base."""

    bought: BoughtAnswer
    receipt: dict[str, Any]
    seller: str
    base_text: str


def _asked(told: _Answered, subject: Subject, number: int) -> AskedQuestion:
    return AskedQuestion(
        number=number,
        question=told.bought.question.text,
        model=subject.name,
        seller=told.seller,
        base_text=told.base_text,
        text=told.bought.text,
        is_right=told.bought.is_right,
        amount_wei=int(told.receipt["amount_wei"]),
        teachers=_teachers(told.receipt, subject),
    )


def _teachers(receipt: dict[str, Any], subject: Subject) -> tuple[Teacher, ...]:
    """The people whom a receipt pays, the greatest share first."""
    shares = sorted(receipt["shares"], key=lambda share: -share["ppm"])
    return tuple(
        Teacher(name=subject.people.get(share["account"], "the Datanet's treasury"), ppm=share["ppm"])
        for share in shares
    )


def _attempt(home: OperatorHome, *words: str) -> Any:
    """Run a command; return None if it fails for now."""
    try:
        return home.run(*words)
    except DemoError:
        return None


def _is_free(home: OperatorHome, channel_id: str) -> bool:
    """True once the delay of a withdrawal is over."""
    now_s = home.ask("/money/network")["chain_time_s"]
    found = next(each for each in home.ask("/money/channels")["channels"] if each["channel_id"] == channel_id)
    return bool(int(found["withdrawing_wei"])) and found["ready_at_s"] <= now_s


def _all_final(home: OperatorHome) -> bool:
    rewards = home.ask("/money/rewards")
    states = {claim["state"] for claim in rewards["claims"]}
    return states <= {"final", "refused"} and "final" in states and not rewards["num_unclaimed"]


def _why_not_final(home: OperatorHome) -> str:
    rewards = home.ask("/money/rewards")
    states = ", ".join(f"claim {claim['seq']} {claim['state']}" for claim in rewards["claims"]) or "no claim"
    return f"{states}; {rewards['num_unclaimed']} receipts in no claim ({rewards['why_not_claimed']})"


def _offered_models(node: OperatorHome) -> list[str]:
    """List the models that a node's endpoint offers."""
    with _client(node) as client:
        return [model["id"] for model in client.get("/v1/models").json()["data"]]


def _buy_answer(node: OperatorHome, model: str, question: Question) -> BoughtAnswer:
    """Ask a model that other nodes have.

    Raises:
        DemoError: the endpoint refuses, or the answer breaks off.
    """
    started_s, first_s, texts, tokens, name = time.monotonic(), None, [], 0, ""
    for event in _answer(node, model, question):
        text = event["choices"][0]["delta"].get("content", "") if event["choices"] else ""
        if text and first_s is None:
            first_s = time.monotonic()
        texts.append(text)
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        name = event["id"]
    if first_s is None:
        raise DemoError(f"{model} answered nothing to {question.text!r}")
    return BoughtAnswer(
        subject=model,
        question=question,
        request_id=f"0x{name.removeprefix(ID_PREFIX)}",
        text="".join(texts),
        ttft_ms=round((first_s - started_s) * 1000, 1),
        tokens=tokens,
    )


def _ask_seller(node: OperatorHome, question: Question) -> str:
    """Ask a node's own base, which costs its owner nothing.

    Raises:
        DemoError: the endpoint refuses, or the answer breaks off.
    """
    events = _answer(node, DEMO_BASE_NAME, question, BASE_TOKENS_MAX)
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])


def _answer(
    node: OperatorHome, model: str, question: Question, tokens_max: int = ANSWER_TOKENS_MAX
) -> Iterator[dict[str, Any]]:
    """Yield the events of an answer."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question.text}],
        "max_tokens": tokens_max,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with _client(node) as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.is_error:
            response.read()
            raise DemoError(f"{node.name}'s endpoint refuses {model}: {response.json()['error']['message']}")
        for line in response.iter_lines():
            content = line.removeprefix("data: ")
            if not content or content == "[DONE]":
                continue
            event = json.loads(content)
            if "error" in event:
                raise DemoError(f"{node.name}'s answer from {model} broke: {event['error']['message']}")
            yield event


def _client(node: OperatorHome) -> httpx.Client:
    headers = {"Authorization": f"Bearer {load_api_key(Home(node.root))}"}
    return httpx.Client(base_url=node.status()["api"]["url"], headers=headers, timeout=ANSWER_TIMEOUT_S, verify=False)
