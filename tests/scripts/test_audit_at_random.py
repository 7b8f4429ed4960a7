"""Whatever people do, in whatever order, the audit finds the books right: a walk through all that can be done."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from audited_economy import NODE2, NODE2_KEY, OPEN, WINDOWS, Call, Economy, decide, open_economy
from support.chain_world.contract_world import ADAPTERS, OWNER_KEYS, STRANGER_KEY
from support.signed import NODE, NODE_KEY, PAYER_KEY, SIGNER_KEY, account
from support.tiers import depth

from openledger_node.audit.report import audit
from openledger_node.chain.dev.constants import BANK_KEY
from openledger_protocol.claims import skip_codes
from openledger_protocol.payments import ChannelConfig, Refund, refund_digest
from openledger_protocol.payouts import PayoutList
from openledger_protocol.primitives import ZERO_DIGEST, Digest, Wei
from openledger_protocol.settlement import ClaimRecord, opening_tuple
from openledger_protocol.signatures import address_of, sign_digest

STEPS = depth(light=64, deep=1_000)
AUDIT_EACH = 16


@dataclass
class Walk:
    """Who does what next; a contract may refuse any of it."""

    session: Economy
    random: Random
    channels: list[ChannelConfig] = field(default_factory=list)
    claims: list[ClaimRecord] = field(default_factory=list)
    lists: list[tuple[ClaimRecord, PayoutList, int]] = field(default_factory=list)
    cases: list[Digest] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)  # by function

    def step(self) -> None:
        deeds: Sequence[Callable[[], None]] = (
            self.open,
            self.top_up,
            self.ask_back,
            self.take_back,
            self.refund,
            self.claim,
            self.claim,
            self.claim,
            self.propose,
            self.propose,
            self.draw,
            self.draw,
            self.draw,
            self.bond,
            self.challenge,
            self.challenge,
            self.contest,
            self.judge,
            self.judge,
            self.close,
            self.fetch,
            self.rule,
            self.spend,
            self.pause,
            self.withdraw,
            self.give,
        )
        self.random.choice(deeds)()
        self.session.wait(self.random.choice([1, 1, 1, 3, 7, 30]))

    def attempt(self, contract: str, function: str, *arguments: object, key: bytes) -> None:
        self.done[function] += self.session.chain.send(contract, function, *arguments, key=key).is_ok

    def amount(self) -> int:
        return self.random.choice([1, 999_983, self.random.randrange(1, OPEN)])

    def channel(self) -> ChannelConfig:
        return self.random.choice(self.channels)

    def open(self) -> None:
        config, amount = self.session.new_config(), OPEN // 50 + self.amount()
        if self.session.chain.send("PaymentChannels", "open", config, amount, key=PAYER_KEY).is_ok:
            self.channels.append(config)

    def top_up(self) -> None:
        self.attempt("PaymentChannels", "topUp", self.channel(), self.amount(), key=PAYER_KEY)

    def ask_back(self) -> None:
        self.attempt("PaymentChannels", "startWithdraw", self.channel(), self.amount(), key=PAYER_KEY)

    def take_back(self) -> None:
        for config in self.channels:
            self.attempt("PaymentChannels", "finishWithdraw", config, key=PAYER_KEY)

    def refund(self) -> None:
        config, session = self.channel(), self.session
        nonce = session.chain.read("PaymentChannels", "refundNonceOf", session.id_of(config))
        refund = Refund(channel_id=session.id_of(config), amount_wei=Wei(self.amount() // 9 + 1), nonce=nonce)
        signature = sign_digest(SIGNER_KEY, refund_digest(refund, session.payments))
        self.attempt("PaymentChannels", "refund", config, refund.amount_wei, nonce, signature, key=STRANGER_KEY)

    def claim(self) -> None:
        """Claim at random; at times an item starts at a wrong place, and is skipped."""
        if self.session.chain.read("NodeStaking", "bondedOf", NODE) < 101 * OPEN:
            self.attempt("NodeStaking", "bond", 101 * OPEN, key=NODE_KEY)
        chosen = self.random.sample(self.channels, min(len(self.channels), 3))
        amounts = [[self.random.choice([0, self.amount() // 100]) for _ in ADAPTERS] for _ in chosen]
        items = [item for row in zip(chosen, amounts, strict=True) for item in self.session.owed(*row)]
        if items and self.random.random() < 0.3:
            items[0] = replace(items[0], from_wei=Wei(items[0].from_wei + 1))
        items.sort(key=lambda item: item.adapter)
        balances = {self.session.id_of(config): self.session.channel(config) for config in chosen}
        if None in skip_codes(NODE, ADAPTERS, items, balances, self.session.payments):
            self.claims.append(self.session.record(*items))

    def propose(self) -> None:
        if not self.claims:
            return
        record = self.claims.pop(self.random.randrange(len(self.claims)))
        if not self.late(record, record.claimed_at_s):
            unlisted = [index for index in range(len(record.pots)) if self.random.random() < 0.2]
            self.lists.append((record, self.session.offer(record, unlisted=unlisted), self.session.now_s))

    def draw(self) -> None:
        """Draw for a list, or once more when its draw has lapsed, and show it, or not."""
        if not self.lists:
            return
        record, listed, proposed_s = self.random.choice(self.lists[-3:])
        self.session.wait(1)
        if self.late(record, proposed_s + WINDOWS.window_s):
            return
        if self.random.random() < 0.4:
            self.session.lapse()
        self.attempt("AttributionRewards", "draw", record.node, record.seq, key=SIGNER_KEY)
        self.session.wait(1)
        openings = self.session.openings(record, listed, self.session.client.head().hash)
        self.session.wait(1)
        shown = [opening_tuple(opening) for opening in openings]
        if self.random.random() < 0.7:
            self.attempt("AttributionRewards", "finalize", record, listed.payouts, shown, key=STRANGER_KEY)

    def late(self, record: ClaimRecord, since_s: int) -> bool:
        """Finalise it without its list, if the time for that is over."""
        is_over = self.session.now_s + 1 > since_s + WINDOWS.propose_s
        if is_over:
            self.attempt("AttributionRewards", "finalizeLate", record, key=STRANGER_KEY)
        return is_over

    def challenge(self) -> None:
        """About any node, also while another case is open, or soon after a slash."""
        config = self.random.choice([self.channel(), self.session.new_config(node=NODE2)])
        found = self.session.evidence(config)
        self.cases.append(found.digest)
        self.attempt("Disputes", "challenge", *found.arguments, key=PAYER_KEY)

    def case(self) -> Digest:
        return self.random.choice(self.cases[-3:] or [ZERO_DIGEST])

    def contest(self) -> None:
        key = self.random.choice([STRANGER_KEY, NODE_KEY, NODE2_KEY, PAYER_KEY])
        self.attempt("Disputes", "contest", self.case(), key=key)

    def judge(self) -> None:
        """Vote on a case that is opened now, which somebody may contest, or on an older one."""
        if self.random.random() < 0.8:
            self.challenge()
            self.random.choice([self.contest, lambda: None])()
        self.vote(("Disputes", "judge", (self.cases[-1] if self.cases else ZERO_DIGEST, self.random.random() < 0.6)))

    def close(self) -> None:
        for case in self.cases[-3:]:
            self.attempt("Disputes", "close", case, key=STRANGER_KEY)

    def fetch(self) -> None:
        """Take out what cases have credited."""
        key = self.random.choice([STRANGER_KEY, NODE_KEY, NODE2_KEY, PAYER_KEY])
        to = self.random.choice([address_of(key), *self.session.network.contracts.values()])
        self.attempt("Disputes", "withdraw", to, key=key)

    def rule(self) -> None:
        """Vote for other shares and another minimum stake; both may be refused."""
        now = self.session.params
        params = replace(
            now,
            protocol_ppm=now.protocol_ppm + self.random.choice([0, 1_000, -1_000, 60_000]),
            min_stake_wei=Wei(self.random.choice([50, 100]) * OPEN + self.random.randrange(40)),
        )
        if self.vote(("Params", "set", (params,))):
            self.session.wait(2 * WINDOWS.epoch_s)
            self.session.params = params

    def spend(self) -> None:
        """Vote to fetch a part of what claims have credited, and all that cases have, and to send some of it."""
        treasury = self.session.treasury
        part = self.random.randrange(self.session.balance(treasury) + 1)
        to = self.random.choice([treasury, account(0x7A), *self.session.network.contracts.values()])
        calls: list[Call] = [("AttributionRewards", "withdraw", (to, part))]
        if self.session.chain.read("Disputes", "balanceOf", treasury):
            calls.append(("Disputes", "withdraw", (treasury,)))
        has = self.session.chain.read("OpenToken", "balanceOf", treasury)
        self.vote(*calls, ("OpenToken", "transfer", (to, self.random.randrange(has + 1))))

    def vote(self, *calls: Call) -> bool:
        is_done = decide(self.session.chain, *calls).is_ok
        self.done[calls[0][1]] += is_done
        return is_done

    def pause(self) -> None:
        self.attempt("AttributionRewards", "pause", self.random.randrange(1, 31), key=BANK_KEY)

    def bond(self) -> None:
        """Bonds come and go; at times nobody has one left."""
        key = self.random.choice([NODE_KEY, NODE2_KEY])
        all_of_it = self.session.chain.read("NodeStaking", "bondedOf", address_of(key))
        deeds: list[tuple[object, ...]] = [
            ("bond", self.amount() + 60 * OPEN),
            ("unbond", self.amount()),
            ("unbond", all_of_it),
            ("withdraw",),
            ("claimStakerRewards",),
            ("setPayout", account(self.random.randrange(0x60, 0x63))),
        ]
        function, *arguments = self.random.choice(deeds)
        self.attempt("NodeStaking", str(function), *arguments, key=key)

    def withdraw(self) -> None:
        key = self.random.choice(OWNER_KEYS)
        has = self.session.balance(address_of(key))
        to = self.random.choice([address_of(key), *self.session.network.contracts.values()])
        self.attempt("AttributionRewards", "withdraw", to, self.random.randrange(has + 1), key=key)

    def give(self) -> None:
        to = self.random.choice([*self.session.network.contracts.values()])
        self.attempt("OpenToken", "transfer", to, self.amount(), key=PAYER_KEY)


@pytest.mark.parametrize("seed", range(1, depth(light=3, deep=11)))
def test_whatever_happens_the_books_are_found_right(seed: int) -> None:
    session = open_economy()
    walk = Walk(session, Random(seed))
    walk.open()
    for step in range(1, STEPS + 1):
        walk.step()
        if step % AUDIT_EACH == 0:
            report = audit(session.client, session.network)
            assert report.holds, (step, report.faults, report.lines)
    assert walk.done.total() > STEPS // 4
    assert all(walk.done[each] for each in ("challenge", "judge", "close", "set"))
    session.client.close()
