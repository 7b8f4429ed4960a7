"""The engine alone, to read and to watch: scheduler → blocks → residency → backend → draw, without daemon or network.

    python -m openledger_node.engine.nano BASE [--adapter ADAPTER] … "PROMPT" …

The bare base and each adapter answer every prompt, all mixed in one batch, and the answers are printed side by side.
`--show steps` prints what each step does. docs/explanation/engine.md walks through the code that runs here.
"""

import argparse
import select
import shutil
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap

from openledger_protocol.codec import sha256_digest
from openledger_protocol.errors import MalformedError, ProtocolError, UnknownModelError
from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.primitives import AdapterId

from ..config import load_config
from ..errors import ModelError, NodeError
from ..home import Home, open_home
from ..models.adapter_files.layout import CONFIG_FILE
from ..models.adapter_source import AdapterSource
from ..models.adapters import find_adapter
from ..models.bases import find_base
from ..models.library import list_adapters
from ..models.pins import source_of
from ..plugs import load_plug
from .answer import AnswerText
from .backend import BLOCK_TOKENS, Backend
from .fit import check_fits
from .options import EngineOptions, engine_options
from .residency import Residency
from .scheduler import Scheduler
from .sequence import Sequence
from .stepper import Stepped, Stepper
from .tokenizer import open_tokenizer, template_head

BASE_COLUMN = "base"
COLUMN_CHARS_MIN = 20


class Nano:
    """One base, and the parts of the engine that answer with it."""

    def __init__(self, options: EngineOptions) -> None:
        settings = options.settings
        self._backend: Backend = load_plug("backend", options.backend)(settings)
        num_blocks = self._backend.profile.num_blocks
        if not num_blocks:
            raise ModelError(
                f"{options.backend} schedules by itself, so it has no steps to show: choose another base"
            )
        self._tokenizer = open_tokenizer(Path(settings.base_folder) if settings.base_folder else None)
        self._scheduler = Scheduler(
            batch_max=settings.batch_max,
            prefill_tokens_max=options.prefill_tokens_max,
            num_blocks=num_blocks,
            head_ids=template_head(self._tokenizer),
        )
        budget = options.adapter_cache_bytes
        residency = Residency(self._backend, device_bytes=budget, ram_bytes=0, check=lambda source: True)
        self._stepper = Stepper(
            self._backend, self._scheduler, residency, announce=lambda sequences: None, refused=self._refuse
        )
        self._bell = residency.loader.bell  # readable when the loader's thread has read an adapter
        self._texts: dict[str, AnswerText] = {}
        self.answers: dict[str, str] = {}

    def ask(self, name: str, prompt: str, sampling: SamplingParams, adapter: AdapterSource | None = None) -> None:
        """Queue a prompt, as a chat's first message if the base has a chat template."""
        try:
            ids = self._tokenizer.render((Message(role="user", content=prompt),))
        except MalformedError:
            ids = self._tokenizer.render(prompt)
        sequence = Sequence(sequence_id=name, prompt_ids=ids, sampling=sampling, adapter=adapter)
        check_fits(sequence.prompt_ids, sequence.sampling.max_tokens, self._backend.profile)
        decoder, end_ids = self._tokenizer.decoder(), self._backend.profile.end_ids
        self._texts[name] = AnswerText(decoder=decoder, stop=(), end_ids=end_ids, max_tokens=sampling.max_tokens)
        self.answers[name] = ""
        self._scheduler.add(sequence)

    def run(self) -> Iterator[Stepped]:
        """Run all sequences to their ends, and yield after each step. This is the loop of the engine."""
        while self._scheduler.running or self._scheduler.num_waiting:
            stepped = self._stepper.step()
            for name in (sequence.sequence_id for sequence in stepped.grown):
                self.answers[name] += self._texts[name].push(stepped.drawn[name].token)
                if self._texts[name].finish_reason:
                    self._stepper.drop(name)
            yield stepped
            if not stepped.has_run and self._scheduler.num_waiting:
                select.select([self._bell], [], [])

    def _refuse(self, name: str, error: ProtocolError) -> None:
        self.answers[name] = f"(refused: {error.message})"

    def lines_of(self, stepped: Stepped) -> Iterator[str]:
        """One line for each event of a step."""
        if not stepped.has_run:
            yield "wait     for an adapter from the disk"
            return
        for one in stepped.joined:
            adapter = ", waited for its adapter" if one.was_cold else ", its adapter was there" if one.adapter else ""
            yield f"join     {one.sequence_id}: {len(one.prompt_ids)} prompt tokens{adapter}"
        for row in stepped.rows:
            if len(row.token_ids) > 1:  # else it decodes, and its token is in the line of those that were drawn
                old = row.position // BLOCK_TOKENS  # blocks that another sequence, or an earlier step, has filled
                new, found = (" ".join(map(str, part)) for part in (row.blocks[old:], row.blocks[:old]))
                after = f" after {found}" if found else ""
                yield f"prompt   {row.sequence_id}: {len(row.token_ids)} from {row.position}, blocks {new}{after}"
        for one in stepped.preempted:
            yield f"preempt  {one.sequence_id}: no block is free for its next token"
        words = (f"{name} {self._tokenizer.spell(drawn.token)[0]!r}" for name, drawn in stepped.drawn.items())
        yield f"draw     {'  '.join(words)}"


def side_by_side(columns: dict[str, str], width: int) -> Iterator[str]:
    """The lines of a table with a column for each text, its head first."""
    chars = max(COLUMN_CHARS_MIN, width // len(columns) - 2)
    cells = (wrap(text, chars, break_on_hyphens=False) for text in columns.values())
    for parts in [tuple(columns), *zip_longest(*cells, fillvalue="")]:
        yield "  ".join(part.ljust(chars) for part in parts).rstrip()


def adapter_of(home: Home, name: str) -> AdapterSource:
    """The adapter in a folder, or the one of a name in the library."""
    if (Path(name) / CONFIG_FILE).is_file():
        folder = str(Path(name).resolve())
        return AdapterSource(id=AdapterId(sha256_digest(folder.encode())), folder=folder)
    if Path(name).is_dir():
        raise ModelError(f"{name} holds no {CONFIG_FILE}, which PEFT writes beside an adapter's weights")
    try:
        return source_of(find_adapter(list_adapters(home), name))
    except UnknownModelError as error:
        raise ModelError(f"there is no folder {name}, and {error.message}") from error


def answer(asked: argparse.Namespace) -> None:
    """Answer every prompt with the base and with every adapter, and print the answers."""
    if folder := next((prompt for prompt in asked.prompts if Path(prompt).is_dir()), None):
        raise ModelError(f"{folder} is a folder, not a prompt: for an adapter write --adapter {folder}")
    home = open_home()
    short = [BASE_COLUMN, *(Path(name).name for name in asked.adapter)]
    names = {name: name if short.count(Path(name).name) > 1 else Path(name).name for name in asked.adapter}
    sources = {BASE_COLUMN: None, **{names[name]: adapter_of(home, name) for name in asked.adapter}}
    nano = Nano(engine_options(home, load_config(home.config_file)[0], find_base(home, asked.base)))
    sampling = SamplingParams(max_tokens=asked.tokens, seed=asked.seed, temperature=asked.temperature)
    for number, prompt in enumerate(asked.prompts, 1):
        for name, source in sources.items():
            nano.ask(f"{name}/{number}", prompt, sampling, source)
    for number, stepped in enumerate(nano.run()):
        if asked.show == "steps":
            print(f"step {number}", *nano.lines_of(stepped), sep="\n  ")
    for number, prompt in enumerate(asked.prompts, 1):
        columns = {name: nano.answers[f"{name}/{number}"] for name in sources}
        print(f"\n{number}. {prompt}\n", *side_by_side(columns, shutil.get_terminal_size().columns), sep="\n")


def main() -> None:
    """Parse the command line, and print an error that the reader can mend as one line."""
    parser = argparse.ArgumentParser(prog="nano", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base", metavar="BASE", help="a folder, or a name that `openledger-node models list` shows")
    parser.add_argument("prompts", metavar="PROMPT", nargs="+")
    parser.add_argument(
        "--adapter", action="append", default=[], help="a folder, or a name in your library; repeatable"
    )
    parser.add_argument("--tokens", type=int, default=32, help="most tokens of an answer")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token")
    parser.add_argument("--seed", type=int, default=0, help="of the noise that decides between likely tokens")
    parser.add_argument("--show", choices=["steps"], help="print what each step does")
    asked = parser.parse_intermixed_args()
    if asked.tokens < 1 or asked.temperature < 0 or asked.seed < 0:
        parser.error("--tokens must be at least 1, and neither --temperature nor --seed below 0")
    try:
        answer(asked)
    except (NodeError, ProtocolError) as error:
        parser.exit(error.exit_code if isinstance(error, NodeError) else ModelError.exit_code, f"error {error}\n")


if __name__ == "__main__":
    main()
