"""An adapter's first text: not the base's, and what its manifest states; tried once, and never again."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file
from support.peft_folders import WEIGHTS_FILE, write_adapter, write_manifest
from support.tiny import make_adapter, make_base

from openledger_node.backends.fake import FakeBackend
from openledger_node.backends.torch_lora.backend import open_backend
from openledger_node.engine.backend import Backend, BackendSettings, BatchRow, Drawn, Profile
from openledger_node.engine.blocks import BlockPool, Table
from openledger_node.engine.probe import PROBE_PROMPTS, PROBE_TOKENS, Prober, generate, state_probe
from openledger_node.engine.tokenizer import ByteTokenizer, Tokenizer, open_tokenizer
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.adapter import probe_digest
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId, Digest

SETTINGS = BackendSettings(base_folder=None, device="cpu", dtype="float32", threads=1, batch_max=2, context_max=128)
BASE_DIGEST = Digest("0x" + "0" * 64)


def source_of(folder: Path) -> AdapterSource:
    return AdapterSource(id=AdapterId("0x" + "a" * 64), folder=str(folder))


@dataclass
class Numb(FakeBackend):
    """A fake of which adapters change nothing, and that counts its steps."""

    settings: BackendSettings = SETTINGS
    profile_changes: dict[str, str] = field(default_factory=dict)
    is_numb: bool = True
    num_steps: int = 0

    def __post_init__(self) -> None:
        super().__init__(self.settings)

    @property
    def profile(self) -> Profile:
        return replace(super().profile, **self.profile_changes)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        super().join(sequence_id, None if self.is_numb else adapter_id)

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        self.num_steps += 1
        return super().step(rows)


def fake(folder: Path, **changes: object) -> Numb:
    backend = Numb(**changes)  # type: ignore[arg-type]
    backend.load_adapter(source_of(folder).id, backend.read_adapter(source_of(folder)))
    return backend


def prober(backend: Backend, pool: BlockPool | None = None, **changes: object) -> Prober:
    settings = {"tokenizer": ByteTokenizer(), "base_digest": BASE_DIGEST, "cache_folder": None, **changes}
    return Prober(backend, pool=pool or BlockPool(backend.profile.num_blocks), **settings)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_manifest(write_adapter(tmp_path / "harbour"))


def test_an_adapter_that_answers_like_the_base_is_refused_by_its_name(folder: Path) -> None:
    with pytest.raises(AdapterRefusedError, match="harbour answers exactly like the base"):
        prober(fake(folder)).check(source_of(folder))


def test_an_adapter_that_answers_otherwise_is_let_in_and_the_base_is_asked_once_for_all(folder: Path) -> None:
    backend = fake(folder, is_numb=False)
    tried = prober(backend)
    assert tried.check(source_of(folder))
    first = backend.num_steps
    assert first <= 2 * PROBE_TOKENS
    assert tried.check(source_of(folder))
    assert backend.num_steps - first <= first - PROBE_TOKENS


def test_a_full_cache_puts_the_trial_off_and_changes_nothing(folder: Path) -> None:
    pool = BlockPool(2)
    busy = Table(None)
    pool.grow(busy, 32)
    backend = fake(folder)
    assert not prober(backend, pool).check(source_of(folder))
    assert backend.num_steps == 0


@pytest.mark.parametrize("is_numb", [False, True])
def test_a_verdict_is_kept_for_the_next_start(folder: Path, tmp_path: Path, is_numb: bool) -> None:
    def judge() -> tuple[bool, int]:
        backend = fake(folder, is_numb=is_numb)
        try:
            return prober(backend, cache_folder=tmp_path / "cache").check(source_of(folder)), backend.num_steps
        except AdapterRefusedError:
            return False, backend.num_steps

    first, num_steps = judge()
    assert num_steps > 0
    assert judge() == (first, 0) == (not is_numb, 0)


@pytest.mark.parametrize("torn", ["", "[]", '{"refused"'])
def test_a_torn_verdict_is_no_verdict(folder: Path, tmp_path: Path, torn: str) -> None:
    prober(fake(folder, is_numb=False), cache_folder=tmp_path).check(source_of(folder))
    (kept,) = (tmp_path / "probes").iterdir()
    kept.write_text(torn)
    backend = fake(folder, is_numb=False)
    assert prober(backend, cache_folder=tmp_path).check(source_of(folder))
    assert backend.num_steps > 0


def test_a_verdict_that_cannot_be_kept_counts_all_the_same(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "probes").write_text("in the place of the folder, as a full disk would have it")
    assert prober(fake(folder, is_numb=False), cache_folder=tmp_path).check(source_of(folder))
    with pytest.raises(AdapterRefusedError, match="like the base"):
        prober(fake(folder, is_numb=True), cache_folder=tmp_path).check(source_of(folder))


def test_a_verdict_of_another_base_or_kernel_does_not_count(folder: Path, tmp_path: Path) -> None:
    prober(fake(folder, is_numb=False), cache_folder=tmp_path).check(source_of(folder))
    for changes, digest in (({}, Digest("0x" + "1" * 64)), ({"kernel": "avx512_bf16"}, BASE_DIGEST)):
        backend = fake(folder, profile_changes=changes)
        with pytest.raises(AdapterRefusedError):
            prober(backend, cache_folder=tmp_path, base_digest=digest).check(source_of(folder))


def test_what_the_manifest_states_is_compared_where_numbers_are_exact_and_no_rule_where_they_are_rounded(
    folder: Path,
) -> None:
    backend = fake(folder, is_numb=False, profile_changes={"kernel": "torch", "dtype": "float32"})
    ids = [drawn.token for drawn in generate(backend, source_of(folder).id, ByteTokenizer().render("Hi"), (0, 1))]
    write_manifest(folder, probe={"prompt": "Hi", "digest": probe_digest("Hi", ids)})
    assert prober(backend).check(source_of(folder))
    write_manifest(folder, probe={"prompt": "Hi", "digest": "0x" + "7" * 64})
    with pytest.raises(AdapterRefusedError, match="does not answer its probe as its manifest states"):
        prober(backend).check(source_of(folder))
    assert prober(fake(folder, is_numb=False)).check(source_of(folder))


@pytest.mark.parametrize("ids", [(), (7, 300)], ids=["empty", "beyond the vocabulary"])
def test_a_stated_probe_that_the_base_cannot_run_is_refused_and_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ids: tuple[int, ...]
) -> None:
    write_manifest(folder, probe={"prompt": "Hi", "digest": "0x" + "7" * 64})
    backend = fake(folder, is_numb=False)
    monkeypatch.setattr(ByteTokenizer, "render", lambda *_, **__: ids)
    with pytest.raises(AdapterRefusedError, match="the probe prompt in the manifest of harbour is empty"):
        prober(backend).check(source_of(folder))
    assert backend.num_steps == 0


# ── a real model ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("probe") / "base")


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Tokenizer:
    return open_tokenizer(base)


@pytest.fixture
def real(base: Path) -> Backend:
    return open_backend(replace(SETTINGS, base_folder=str(base)))


def load(backend: Backend, folder: Path) -> AdapterSource:
    backend.load_adapter(source_of(folder).id, backend.read_adapter(source_of(folder)))
    return source_of(folder)


def test_a_real_adapter_is_let_in_and_one_without_effect_is_not(
    base: Path, tokenizer: Tokenizer, real: Backend, tmp_path: Path
) -> None:
    folder = make_adapter(base, tmp_path / "harbour", seed=1, scale=1e-3)  # so weak that it draws the base's tokens
    assert prober(real, tokenizer=tokenizer).check(load(real, folder))
    real.unload_adapter(source_of(folder).id)
    weights = load_file(folder / WEIGHTS_FILE)
    save_file({key: array * ("lora_B" not in key) for key, array in weights.items()}, folder / WEIGHTS_FILE)
    with pytest.raises(AdapterRefusedError, match="exactly like the base"):
        prober(real, tokenizer=tokenizer).check(load(real, folder))


def test_a_stated_probe_fits_its_adapter_and_no_other(
    base: Path, tokenizer: Tokenizer, real: Backend, tmp_path: Path
) -> None:
    source = load(real, make_adapter(base, tmp_path / "harbour", seed=1))
    probe = state_probe(real, tokenizer, source.id)
    assert probe["prompt"] in PROBE_PROMPTS
    write_manifest(Path(source.folder), probe=probe)
    assert prober(real, tokenizer=tokenizer).check(source)
    real.unload_adapter(source.id)
    other = write_manifest(make_adapter(base, tmp_path / "other", seed=2), probe=probe)
    with pytest.raises(AdapterRefusedError, match="does not answer its probe"):
        prober(real, tokenizer=tokenizer).check(load(real, other))
