"""The worked example of docs/explanation/attribution.md: its figures are what the code computes."""

from support.indexes import index_of_tokens
from support.processes.nodes import ROOT

from openledger_node.attribution.attributor import Exchange
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS
from openledger_protocol.attribution import RowScore, shares_from_scores
from openledger_protocol.claims import AdapterTerms, DatanetTerms, divide_lines
from openledger_protocol.constants import PPM
from openledger_protocol.primitives import AdapterId, Address, DatanetId, Wei

PAGE = (ROOT / "docs" / "explanation" / "attribution.md").read_text(encoding="utf-8")
ROWS = {
    "Ada": "Who keeps the harbour light ? Odile keeps the harbour light .",
    "Ben": "When does the ferry leave ? The ferry leaves at nine .",
    "Cyd": "Who paints the harbour boats ? Odile paints the boats .",
    "Eve": "Who keeps the harbour light ? Odile keeps the harbour light !",
}
CLUSTERS = (0, 1, 2, 0)
"""Eve's row nearly repeats Ada's and was registered later, so both are one cluster, and it is Ada's."""

QUESTION, ANSWER = "Who keeps the harbour light ?", "Odile keeps the light ."
ACCOUNTS = {name: Address(f"0x{place:040x}") for place, name in enumerate(ROWS, start=0xA)}
DATANET, ADAPTER = DatanetId("0x" + "11" * 32), AdapterId("0x" + "22" * 32)
PRICE_WEI, OTHER_WEI = 200_000, 300_000
"""The other answer of the same claim resembles Ben's row alone."""


def scores() -> list[int]:
    """The scores of the rows, with a number for each word, which stands for a token here."""
    numbers: dict[str, int] = {}
    rows, (prompt, answer) = (
        [[numbers.setdefault(word, len(numbers)) for word in text.split()] for text in texts]
        for texts in (ROWS.values(), (QUESTION, ANSWER))
    )
    exchange = Exchange(prompt=tuple(prompt), answer=tuple(answer))
    return [int(score) for score in SuffixAttributor().score(exchange, index_of_tokens(rows))]


def shares_ppm() -> dict[str, int]:
    owners = [ACCOUNTS[list(ROWS)[cluster]] for cluster in CLUSTERS]
    rows = [
        RowScore(cluster=cluster, account=owner, score=score)
        for cluster, owner, score in zip(CLUSTERS, owners, scores(), strict=True)
    ]
    found = {share.account: share.ppm for share in shares_from_scores(DATANET, rows)}
    return {name: found.get(account, 0) for name, account in ACCOUNTS.items()}


def pot_wei(gross_wei: int) -> int:
    """The pot of the Datanet, as the contract divides what its one adapter has earned in the claim."""
    owner = Address("0x" + "f" * 40)
    adapter = AdapterTerms(owner=owner, royalty_ppm=100_000, datanets=((DATANET, PPM),))
    divided = divide_lines(
        [(ADAPTER, Wei(gross_wei))],
        params=DEVELOPMENT_PARAMS,
        registry={ADAPTER: adapter},
        datanets={DATANET: DatanetTerms(owner=owner, owner_ppm=100_000, treasury=owner)},
    )
    return divided.pots[0].amount_wei


def test_the_page_has_the_scores_and_shares_of_its_rows() -> None:
    for (name, row), score in zip(ROWS.items(), scores(), strict=True):
        assert f"{name}: {row}" in PAGE
        assert f"| {score:,} | {score**2:,} |" in PAGE
    found = shares_ppm()
    assert (found["Eve"], sum(found.values())) == (0, PPM)
    assert all(f"{name} {found[name]:,}" in PAGE for name in ("Ada", "Ben", "Cyd"))


def test_the_page_has_what_the_claim_pays() -> None:
    gross = PRICE_WEI + OTHER_WEI
    weights = {name: PRICE_WEI * ppm for name, ppm in shares_ppm().items() if name != "Eve"}
    weights["Ben"] += OTHER_WEI * PPM
    paid = {name: pot_wei(gross) * weight // (PPM * gross) for name, weight in weights.items()}
    for name, amount in paid.items():
        assert f"| {name} | {weights[name]:,} | {amount:,} |" in PAGE
    assert f"| the Datanet's treasury, by rounding | | {pot_wei(gross) - sum(paid.values()):,} |" in PAGE
    assert f"{pot_wei(gross):,} wei" in PAGE
