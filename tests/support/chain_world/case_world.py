"""A node's receipts with right and false shares, whose payer has kept the texts, and a judge with a plain key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from openledger_node.accounting.transactions import TransactionPlanner
from openledger_node.attribution.recount import NotHereError
from openledger_node.chain.cases import Challenge
from openledger_node.config import Config, SettlementConfig
from openledger_node.home import Home
from openledger_node.keystore import WALLET, ensure_node_password, import_account, key_from_private
from openledger_node.ledger.receipts import ReceiptRow
from openledger_node.payments.kept_texts import open_texts
from openledger_node.settlement.case_actions import ChallengeReceipt
from openledger_node.settlement.case_keeper import CaseKeeper, CasePolicy
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.cases import case_texts
from openledger_protocol.commitments import output_commit, prompt_commit
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.payments import Receipt, receipt_digest
from openledger_protocol.primitives import AdapterId, ChannelId, DatanetId, Digest, RequestId, Wei
from openledger_protocol.signatures import address_of, sign_digest

from ..contributors import ADA, BEN
from ..signed import AUTHORIZER_KEY, NODE, PAYER_KEY, SIGNER_KEY, WORK, digest, opening_of
from .contract_world import OPEN
from .world import World, open_session, open_world

JUDGE_KEY = b"\x41" * 32
ADAPTER = AdapterId(digest("a"))
DATANET = DatanetId(digest("d"))
BOND = 5 * OPEN
"""A twentieth of the minimum stake of a development network."""

RIGHT = tuple(
    Share(datanet_id=DATANET, account=account, ppm=ppm)
    for account, ppm in sorted(((ADA, 400_000), (BEN, 600_000)), key=lambda each: each[0].lower())
)
FALSE = (Share(datanet_id=DATANET, account=NODE, ppm=1_000_000),)

numbers = count(1)


@dataclass
class FixedRecount:
    """Finds the same shares for every answer, as long as the rows are there."""

    missing: str = ""

    def shares_of(self, receipt: Receipt, prompt: Any, answer: str) -> tuple[Share, ...]:
        if self.missing:
            raise NotHereError(self.missing)
        return RIGHT


@dataclass(kw_only=True)
class CaseWorld:
    """A world whose node sells answers of one adapter; anybody in it can compute the right shares."""

    world: World
    home: Home  # of the payer
    channel: ChannelId
    recount: FixedRecount
    planner: TransactionPlanner = field(init=False)

    def __post_init__(self) -> None:
        self.planner = TransactionPlanner(self.home, self.world.payer)

    def buy(self, shares: tuple[Share, ...] = RIGHT, *, answer: str = "Odile keeps it.", **fields: Any) -> ReceiptRow:
        """A receipt that the payer has stored, with its texts."""
        world, opening = self.world, opening_of(answer)
        work = replace(
            WORK,
            request_id=RequestId("0x" + next(numbers).to_bytes(32, "big").hex()),
            prompt_commit=prompt_commit(opening.salts.prompt, opening.messages, opening.sampling),
            output_commit=output_commit(opening.salts.output, opening.text),
        )
        receipt = Receipt(
            **{
                "channel_id": self.channel,
                "seq": next(numbers),
                "issued_at_s": world.now_s,
                "adapter_id": ADAPTER,
                "amount_wei": Wei(OPEN),
                "cumulative_wei": Wei(OPEN),
                "algo_id": 1,
                "shares_hash": shares_hash(shares),
                "work": work,
                **fields,
            }
        )
        hashed = receipt_digest(receipt, world.payments)
        row = ReceiptRow(
            digest=hex_digest(hashed), receipt=receipt, shares=shares, signature=sign_digest(SIGNER_KEY, hashed)
        )
        world.payer.ledger.receipts.insert(row)
        self.texts().keep(row.digest, opening)
        return row

    def texts(self, setting_s: float = 1e6) -> Any:
        """The texts that the payer keeps."""
        folder, ledger = self.home.network(self.world.payer.network.network), self.world.payer.ledger
        return open_texts(folder, ledger, setting_s=setting_s, is_development=True)

    def do(self, command: str, **arguments: Any) -> str:
        """Plan a command of the payer's, carry it out, wait until it is mined, and return what was shown."""
        plan = self.planner.plan(command, arguments, None)
        sent = self.planner.act(plan["plan"])
        self.world.wait_until_mined(sent, by=self.world.payer)
        return "\n".join(plan["details"])

    def challenge(self, row: ReceiptRow) -> Digest:
        """Have the payer challenge a receipt, right or wrong, without the checks of its node."""
        config = self.world.configs[self.channel]
        action = challenge_of(row, config, bond_wei=Wei(BOND))
        self.world.act(action, by=self.world.payer)
        self.world.run(lambda: self.state(row.digest) == "open")
        self.world.settle()
        return row.digest

    def judge(self, case: Digest, *, guilty: bool) -> None:
        """Judge as the votes would."""
        assert self.world.chain.send("Disputes", "judge", case, guilty, key=JUDGE_KEY).is_ok
        self.world.settle()

    def state(self, case: Digest) -> str:
        """The state of a case on the chain."""
        return str(self.world.node.cases.disputes.case(case).state)

    def contester(self) -> str | None:
        """Who has contested the case against the node."""
        sides = self.world.node.cases.disputes.sides(NODE)
        assert sides is not None
        return sides.contester

    def open_of(self, account: NetworkSession) -> int:
        """The OPEN of a session's wallet."""
        return self.world.chain.read("OpenToken", "balanceOf", account.accounts.wallet)  # type: ignore[no-any-return]

    def keeper_of(self, session: NetworkSession, *, is_watching: bool) -> CaseKeeper:
        """What would act for a session if it started now."""
        return CaseKeeper(
            ledger=session.ledger,
            deployment=session.deployment,
            cases=session.cases,
            wallet=session.accounts.wallet,
            signer=session.accounts.signer,
            unlocked=session.ring.keys,
            windows=session.windows,
            policy=CasePolicy(is_watching=is_watching, bonds_max_wei=Wei(100 * OPEN)),
        )

    def watcher(self, *, bonds_wei: int = 100 * OPEN, is_watching: bool = True) -> NetworkSession:
        """Another node, which contests for others; its bonds stand in a ledger of its own."""
        config = Config(settlement=SettlementConfig(watch=is_watching, watch_bonds_wei=bonds_wei))
        chain = self.world.chain
        opened = open_session(
            self.home.root, chain.client, chain.network, "watcher", config=config, recount=lambda _: self.recount
        )
        if not self.open_of(opened):
            chain.fund(opened.accounts.wallet, coin_wei=OPEN, open_wei=50 * OPEN)
            chain.fund(opened.accounts.signer, coin_wei=OPEN)
        return opened


def challenge_of(row: ReceiptRow, config: Any, *, bond_wei: Wei) -> ChallengeReceipt:
    """What a payer sends to open a case about a receipt."""
    assert row.signature is not None
    challenge = Challenge(
        config=config,
        receipt=row.receipt,
        shares=row.shares,
        node_signature=row.signature,
        texts=case_texts(opening_of("Odile keeps it.")),
    )
    return ChallengeReceipt(digest=row.digest, challenge=challenge, bond_wei=bond_wei)


@contextmanager
def open_case_world(root: Path) -> Iterator[CaseWorld]:
    """A world with a channel, whose cases one key judges."""
    recount = FixedRecount()
    options = {"recount": lambda _: recount}
    with open_world(root, options=options, governor=address_of(JUDGE_KEY)) as world:
        world.chain.fund(address_of(JUDGE_KEY))
        home, network = Home(root / "payer"), world.payer.network.network
        keys = home.network_keys(network)
        keys.mkdir(mode=0o700, parents=True)
        import_account(keys, WALLET, key_from_private(PAYER_KEY), ensure_node_password(keys))
        world.payer.ring.add(key_from_private(AUTHORIZER_KEY))
        yield CaseWorld(world=world, home=home, channel=world.open_channel(), recount=recount)
