"""The worked example of docs/explanation/attribution.md: every figure in it is computed here again."""

from support.indexes import index_of_tokens
from support.naive_suffix import gain, longest_match, naive_scores, occurrences, rarity
from support.processes.nodes import ROOT

from openledger_node.attribution.attributor import Exchange
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS
from openledger_node.datanets.version import make_version
from openledger_protocol.attribution import RowScore, Share, shares_from_scores
from openledger_protocol.claims import AdapterTerms, DatanetTerms, divide_lines
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import AdapterId, Address, DatanetId, Wei

PAGE = ROOT / "docs" / "explanation" / "attribution.md"

ROWS = {
    "Ada": "Who keeps the harbour light ? Odile keeps the harbour light .",
    "Ben": "When does the ferry leave ? The ferry leaves at nine .",
    "Cyd": "Who paints the harbour boats ? Odile paints the boats .",
    "Eve": "Who keeps the harbour light ? Odile keeps the harbour light !",
}
"""Eve's row nearly repeats Ada's and was registered later, so both are one cluster, and it is Ada's."""

CLUSTERS = {"Ada": 0, "Ben": 1, "Cyd": 2, "Eve": 0}
QUESTION = "Who keeps the harbour light ?"
ANSWER = "Odile keeps the light ."
ACCOUNTS = {name: Address(f"0x{place:040x}") for place, name in enumerate(ROWS, start=0xA)}
DATANET = DatanetId("0x" + "11" * 32)
ADAPTER = AdapterId("0x" + "22" * 32)

PRICE_WEI = 200_000
OTHER_WEI = 300_000
"""Another answer of the same adapter in the same claim, which resembles no row of Ada's."""

Tokens = list[int]


def numbered() -> tuple[list[Tokens], Tokens, Tokens]:
    """Rows, question and answer with a number for each word, which stands for a token here."""
    numbers: dict[str, int] = {}

    def tokens(text: str) -> Tokens:
        return [numbers.setdefault(word, len(numbers)) for word in text.split()]

    return [tokens(row) for row in ROWS.values()], tokens(QUESTION), tokens(ANSWER)


def word_table(place: int) -> str:
    """One row of the table for each word of question and answer, as the row at `place` earns by it."""
    rows, prompt, answer = numbered()
    text, words = [*prompt, *answer], [*QUESTION.split(), *ANSWER.split()]
    lines = ["| word of | word | rows that have it | rarity | run | root | worth |", "|---|---|---|---|---|---|---|"]
    for end, token in enumerate(text):
        side = "question" if end < len(prompt) else "answer"
        held = sum(occurrences(row, (token,)) > 0 for row in rows)
        run = longest_match(rows, rows[place], text, end)
        worth = rarity(rows, token) * gain(run)
        figures = f"{held} | {rarity(rows, token)} | {run} | {gain(run)} | {worth:,}"
        lines.append(f"| {side} | {words[end]} | {figures} |")
    return "\n".join(lines)


def sides(place: int) -> tuple[int, int]:
    """The worth of the row at `place` by the question and by the answer."""
    rows, prompt, answer = numbered()
    text = [*prompt, *answer]
    worth = [rarity(rows, text[end]) * gain(longest_match(rows, rows[place], text, end)) for end in range(len(text))]
    return sum(worth[: len(prompt)]), sum(worth[len(prompt) :])


def scores() -> tuple[int, ...]:
    rows, prompt, answer = numbered()
    exchange = Exchange(prompt=tuple(prompt), answer=tuple(answer))
    found = tuple(SuffixAttributor().score(exchange, index_of_tokens(rows)).tolist())
    assert found == naive_scores(rows, prompt, answer)
    return found


def score_table() -> str:
    """One row of the table for each row of the Datanet."""
    lines = ["| row | question | answer | length | score | squared |", "|---|---|---|---|---|---|"]
    for place, (name, score) in enumerate(zip(ROWS, scores(), strict=True)):
        by_prompt, by_answer = sides(place)
        length = len(ROWS[name].split())
        lines.append(f"| {name} | {by_prompt:,} | {by_answer:,} | {length} | {score:,} | {score**2:,} |")
    return "\n".join(lines)


def shares() -> list[Share]:
    owner = {cluster: name for name, cluster in reversed(CLUSTERS.items())}
    rows = [
        RowScore(cluster=CLUSTERS[name], account=ACCOUNTS[owner[CLUSTERS[name]]], score=score)
        for name, score in zip(ROWS, scores(), strict=True)
    ]
    return shares_from_scores(DATANET, rows)


def ppm_of(name: str) -> int:
    return sum(share.ppm for share in shares() if share.account == ACCOUNTS[name])


def pot_wei(gross_wei: int) -> int:
    """The pot of the Datanet, as the contract divides what its one adapter has earned in the claim."""
    owner = Address("0x" + "f" * 40)
    adapter = AdapterTerms(owner=owner, royalty_ppm=100_000, datanets=((DATANET, PPM),))
    datanet = DatanetTerms(owner=owner, owner_ppm=100_000, treasury=owner)
    divided = divide_lines(
        [(ADAPTER, Wei(gross_wei))],
        params=DEVELOPMENT_PARAMS,
        registry={ADAPTER: adapter},
        datanets={DATANET: datanet},
    )
    return divided.pots[0].amount_wei


def money_table() -> str:
    """From the shares to what a claim of two answers pays."""
    pot_gross = PRICE_WEI + OTHER_WEI
    pot = pot_wei(pot_gross)
    lines = ["| account | weight | part of the pot in wei |", "|---|---|---|"]
    weights = {name: PRICE_WEI * ppm_of(name) for name in ("Ada", "Ben", "Cyd") if ppm_of(name)}
    weights["Ben"] = weights.get("Ben", 0) + OTHER_WEI * PPM
    left = pot
    for name, weight in sorted(weights.items()):
        amount = pot * weight // (PPM * pot_gross)
        left -= amount
        lines.append(f"| {name} | {weight:,} | {amount:,} |")
    lines.append(f"| the Datanet's treasury, by rounding | | {left:,} |")
    assert sum(weights.values()) == PPM * pot_gross
    return "\n".join(lines)


def test_the_page_has_the_rows_and_the_texts() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, row in ROWS.items():
        assert f"{name}: {row}" in page
    assert f"question: {QUESTION}" in page
    assert f"answer: {ANSWER}" in page


def test_eves_row_is_in_the_cluster_of_adas() -> None:
    halves = {name: row.split(" ? ") for name, row in ROWS.items()}
    rows = [Row(prompt=f"{asked} ?", completion=said, contributor=name) for name, (asked, said) in halves.items()]
    version = make_version("harbour", "1", rows, ACCOUNTS)
    assert [row.cluster for row in version.rows] == list(CLUSTERS.values())


def test_the_page_has_the_words_of_adas_row() -> None:
    assert word_table(0) in PAGE.read_text(encoding="utf-8"), word_table(0)


def test_the_page_has_the_scores_of_all_rows() -> None:
    assert score_table() in PAGE.read_text(encoding="utf-8"), score_table()


def test_the_page_has_the_shares() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert ppm_of("Eve") == 0
    assert sum(share.ppm for share in shares()) == PPM
    for name in ("Ada", "Cyd", "Ben"):
        assert f"{name} {ppm_of(name):,}" in page, f"{name} {ppm_of(name):,}"


def test_the_page_has_what_the_claim_pays() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert money_table() in page, money_table()
    assert f"{PRICE_WEI:,} wei" in page
    assert f"{OTHER_WEI:,} wei" in page
    assert f"{pot_wei(PRICE_WEI + OTHER_WEI):,} wei" in page
