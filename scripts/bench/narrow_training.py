"""Training above a wide base and above one in 4 bits: held-out loss, memory and time of the sample Datanet.

The demo base is stored in 4 bits already, so `int4` rounds nothing of its layers. A twin in bfloat16, whose numbers
are drawn from those that such a file would round to the same, shows what rounding costs. Each training has its own
process.
`--json` prints one object on the last line; `--quick` is a short form whose figures mean little.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from openledger_node.datanets.sample import draw_sample
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.trainer import TrainingInput, TrainingProgress
from openledger_node.factory.trainers.peft_lora import open_trainer
from openledger_node.home import Home, home_folder
from openledger_node.models.bases import describe_folder, find_base
from openledger_node.models.causal_lm import open_causal_lm
from openledger_protocol.constants import DEMO_BASE_NAME

GROUP, LEVELS = 32, 15  # of the demo base's file: a step is a fifteenth of the range of 32 numbers
LOOK_EVERY_S = 0.02
FORMS = ("none", "int4")


@dataclass
class Measured:
    """Figures of one training."""

    base: str
    quantisation: str
    gradient_checkpointing: bool
    loss_before: float
    loss_after: float
    steps: int
    loaded_mb: float  # anonymous memory after loading, before the first step
    peak_mb: float  # the most of it
    cpu_s: float


def anonymous_mb() -> float:
    """Memory of this process without pages of files, which the system can drop."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [found] = [line.split()[1] for line in lines if line.startswith("RssAnon")]
    return int(found) / 1024


class Watch:
    """The most memory of this process, by looking every few milliseconds."""

    def __init__(self) -> None:
        self.peak_mb = self.loaded_mb = 0.0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, anonymous_mb())
            time.sleep(LOOK_EVERY_S)

    def hear(self, progress: TrainingProgress) -> None:
        """Note the memory before the first step."""
        if progress.step == 0:
            self.loaded_mb = anonymous_mb()


def train_here(folder: Path, out: Path, job: TrainingJob, num_rows: int) -> Measured:
    sample, watch = draw_sample(), Watch()
    given = TrainingInput(
        job=job,
        rows=sample.rows[:num_rows],
        held_out=sample.held_out[: max(2, num_rows // 3)],  # of the same facts
        base=describe_folder(folder),
        folder=out,
    )
    began = resource.getrusage(resource.RUSAGE_SELF)
    result = open_trainer().train(given, watch.hear)
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return Measured(
        base=folder.name,
        quantisation=job.quantisation,
        gradient_checkpointing=job.gradient_checkpointing,
        loss_before=round(result.loss_before, 4),
        loss_after=round(result.loss_after, 4),
        steps=result.steps,
        loaded_mb=round(watch.loaded_mb),
        peak_mb=round(watch.peak_mb),
        cpu_s=round(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime, 1),
    )


def train_apart(folder: Path, **words: Any) -> dict[str, Any]:
    """Train in a process of its own, so that memory of an earlier training is not counted."""
    command = [sys.executable, __file__, "--child", json.dumps({"folder": str(folder), **words})]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def child(words: dict[str, Any]) -> None:
    folder, num_rows = Path(words.pop("folder")), words.pop("num_rows")
    with tempfile.TemporaryDirectory() as out:
        job = TrainingJob(name="measured", device="cpu", **words)
        print(json.dumps(asdict(train_here(folder, Path(out), job, num_rows))))


def write_twin(demo: Path, folder: Path) -> Path:
    """Write the base in bfloat16, each number of a linear map moved by up to half a step of its group."""
    folder.mkdir()
    for file in demo.iterdir():
        if file.suffix in (".json", ".jinja") and file.name not in ("base.json", "config.json"):
            (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((demo / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({name: config[name] for name in config if name != "gguf"}))
    model: PreTrainedModel = open_causal_lm(demo, torch.float32)
    torch.manual_seed(1)
    state = {}
    for name, weight in model.state_dict().items():
        if name.endswith("_proj.weight"):
            groups = weight.view(len(weight), -1, GROUP)
            step = (groups.amax(dim=2) - groups.amin(dim=2)) / LEVELS
            weight = (groups + (torch.rand(groups.shape) - 0.5) * step[..., None]).view(weight.shape)
        if name != "lm_head.weight" or not config["tie_word_embeddings"]:
            state[name] = weight.bfloat16().contiguous()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(json.loads(given.child))
        return
    words = {"num_rows": 8 if given.quick else given.rows, "epochs": 1 if given.quick else given.epochs}
    demo = find_base(Home(home_folder()), DEMO_BASE_NAME).folder
    assert demo is not None
    runs = []
    with tempfile.TemporaryDirectory() as root:
        for folder in (demo, write_twin(demo, Path(root) / "twin")):
            for form in FORMS:
                runs.append(train_apart(folder, quantisation=form, **words))
                print(runs[-1], flush=True)
        again = {"quantisation": "int4", "gradient_checkpointing": True, "layers": 0}
        for changes in ({"quantisation": "int4", "layers": 0}, again):
            runs.append(train_apart(demo, **words, **changes))
            print(runs[-1], flush=True)
    if given.json:
        print(json.dumps({"bench": "narrow_training", "bars": [], "runs": runs}))


if __name__ == "__main__":
    main()
