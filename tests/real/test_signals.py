"""Signals of poa-v3 on the real base and a sample adapter: answered, replayed, and in another number format."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.tiers import depth
from support.torch_bases import cpu_settings

from openledger_node.attribution.attributors.poa_v3 import PoaV3Attributor
from openledger_node.attribution.index import build_index, open_index
from openledger_node.attribution.owners import OwnedDatanet, join_owners
from openledger_node.attribution.service import attribute, exchange_of
from openledger_node.attribution.signals.files import build_signals, open_signals
from openledger_node.attribution.signals.sketches import Sketches, seed_of
from openledger_node.attribution.signals.statistics import signals_of
from openledger_node.attribution.signals.traces import replayed_taps, trace_of
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.datanets.near import distinct_rows
from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.sample import draw_sample
from openledger_node.datanets.version import make_version
from openledger_node.engine.backend import BatchRow, Draw
from openledger_node.engine.taps import Taps, joined_taps
from openledger_node.engine.tokenizer import Tokenizer, open_tokenizer
from openledger_node.factory.samples import SAMPLES
from openledger_node.factory.trainers.examples import Example, encode_rows
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId, DatanetId, Digest
from openledger_protocol.signals import Signals, are_shares_close, check_replay

pytestmark = pytest.mark.model

ADAPTER = AdapterId("0xaa")
SAMPLE = draw_sample(1)
ROWS_ROOT = rows_digest(SAMPLE.rows)
SEED = seed_of(Digest("0x" + "1" * 64), [ROWS_ROOT])
D_MODEL, TOKENS_MAX, ANSWER_TOKENS = 576, 128, 24
ROWS_A_FACT = 3
QUESTIONS = depth(light=(0, 3), deep=tuple(range(30)))
"""Held-out questions; the adapter answers the light ones right, word by word."""
FACTS = depth(light=(0, 3, 11, 14, 21, 24), deep=tuple(range(30)))
"""Facts whose rows are indexed, of all three owners."""

NARROW_ANSWERS = depth(light=1, deep=5)
"""Answers that are replayed in bfloat16, which most processors emulate slowly."""


def rows_of_index() -> tuple[Row, ...]:
    return distinct_rows([SAMPLE.rows[ROWS_A_FACT * fact + n] for fact in FACTS for n in range(ROWS_A_FACT)])


@dataclass
class Answered:
    """A held-out question, and what the adapter generated."""

    row: Row
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    text: str
    taps: Taps


@dataclass
class Served:
    """The sample adapter on its base, with text index and signals of its rows."""

    backend: TorchLoraBackend
    tokenizer: Tokenizer
    datanet: OwnedDatanet
    sketches: Sketches

    def signals(self, taps: Taps, ids: tuple[int, ...]) -> Signals:
        rows = self.datanet.index.signals
        assert rows is not None
        return signals_of(trace_of(taps, ids, self.backend, self.sketches), rows.statistics, self.sketches)

    def shares(self, answered: Answered, signals: Signals) -> tuple[Share, ...]:
        exchange = exchange_of(answered.row.prompt, answered.text, self.tokenizer)
        return attribute(PoaV3Attributor(), [self.datanet], replace(exchange, signals={ROWS_ROOT: signals}))


def open_real(base: Path, dtype: str) -> TorchLoraBackend:
    settings = cpu_settings(base, dtype=dtype, batch_max=1, context_max=TOKENS_MAX)
    backend = TorchLoraBackend(settings)
    source = AdapterSource(id=ADAPTER, folder=str(SAMPLES / "harbour"))
    backend.load_adapter(ADAPTER, backend.read_adapter(source))
    return backend


@pytest.fixture(scope="module")
def served(demo_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    root, rows = tmp_path_factory.mktemp("signals"), rows_of_index()
    backend, tokenizer = open_real(demo_base, "float32"), open_tokenizer(demo_base)
    examples = dict(zip(rows, encode_rows(rows, demo_base, TOKENS_MAX), strict=True))

    def taps_of(example: Example) -> Taps:
        return replayed_taps(backend, ADAPTER, example.prompt_ids, example.completion_ids)

    sketches = Sketches(SEED, d_model=D_MODEL, is_residual=taps_of(examples[rows[0]]).is_residual)
    signals_root = build_signals(
        root / "signals",
        [(ROWS_ROOT, rows)],
        sketches,
        lambda row: trace_of(taps_of(examples[row]), examples[row].completion_ids, backend, sketches),
    )
    version = make_version("sample", "1", SAMPLE.rows, SAMPLE.accounts)
    label = replace(version.label, rows_root=ROWS_ROOT)
    index = open_index(root / "text", build_index(root / "text", [(label, rows)], tokenizer, None))
    datanet = join_owners(index, {ROWS_ROOT: version.rows}, {ROWS_ROOT: DatanetId("0x" + "2" * 64)})[0]
    signals = open_signals(root / "signals", signals_root)[ROWS_ROOT]
    return Served(backend, tokenizer, replace(datanet, index=replace(datanet.index, signals=signals)), sketches)


@pytest.fixture(scope="module")
def answers(served: Served, demo_base: Path) -> list[Answered]:
    held_out = [SAMPLE.held_out[number] for number in QUESTIONS]
    prompts = [example.prompt_ids for example in encode_rows(held_out, demo_base, TOKENS_MAX)]
    return [answer(served, row, prompt_ids) for row, prompt_ids in zip(held_out, prompts, strict=True)]


def answer(served: Served, row: Row, prompt_ids: tuple[int, ...]) -> Answered:
    """Generate greedily, with taps of every step."""
    backend, greedy = served.backend, SamplingParams(max_tokens=ANSWER_TOKENS, seed=1, temperature=0)
    ids, position = prompt_ids, 0
    drawn: list[int] = []
    parts: list[Taps] = []
    backend.join("s", ADAPTER)
    while len(drawn) < ANSWER_TOKENS and not set(drawn) & set(backend.profile.end_ids):
        end = position + len(ids)
        draw = Draw(sampling=greedy, position=end, is_tapped=True)
        step = BatchRow(sequence_id="s", token_ids=ids, position=position, blocks=tuple(range(8)), draw=draw)
        found = backend.step((step,))["s"]
        assert found.taps is not None
        drawn.append(found.token)
        parts.append(found.taps)
        ids, position = (found.token,), end
    backend.leave("s")
    decoder = served.tokenizer.decoder()
    text = "".join(decoder.push(token) for token in drawn if token not in backend.profile.end_ids)
    return Answered(row, prompt_ids, tuple(drawn), text, joined_taps(parts))


def test_a_replay_has_the_signals_of_the_answer(served: Served, answers: list[Answered]) -> None:
    for each in answers:
        replayed = replayed_taps(served.backend, ADAPTER, each.prompt_ids, each.ids)
        check_replay(served.signals(each.taps, each.ids), served.signals(replayed, each.ids))


def test_whoever_taught_a_right_answer_is_paid(served: Served, answers: list[Answered]) -> None:
    right = [each for each in answers if each.row.completion == each.text]
    assert right
    for each in right:
        shares = {s.account: s.ppm for s in served.shares(each, served.signals(each.taps, each.ids))}
        assert shares.get(SAMPLE.accounts[each.row.contributor], 0) >= 0.8 * PPM


def test_bfloat16_moves_signals_and_shares_within_their_bounds(
    served: Served, answers: list[Answered], demo_base: Path
) -> None:
    """By the model's own probabilities a memorised answer has hardly any error, so rounding would turn it."""
    narrow = replace(served, backend=open_real(demo_base, "bfloat16"))
    for each in answers[:NARROW_ANSWERS]:
        exact = served.signals(each.taps, each.ids)
        rounded = narrow.signals(replayed_taps(narrow.backend, ADAPTER, each.prompt_ids, each.ids), each.ids)
        check_replay(exact, rounded)
        assert are_shares_close(served.shares(each, exact), served.shares(each, rounded))
