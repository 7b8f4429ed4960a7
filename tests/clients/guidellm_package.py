# /// script
# requires-python = ">=3.11"
# dependencies = ["guidellm==0.8.1"]
# [tool.uv]
# override-dependencies = ["torch; python_version < '3'"]
# ///
"""guidellm, which measures a server by prompts of its own making.

It makes prompts with a tokenizer, here the base's own folder, so it needs no hub. Its data loader is torch's. PyPI's
build of torch brings 3 GB of CUDA, so the torch of the node is used.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from driver import KEY, MODEL, URL, main

TOKENIZER = os.environ["NODE_TOKENIZER"]  # the folder of the base
TORCH = os.environ["NODE_TORCH"]  # a folder with the node's torch and what that needs
ENVIRONMENT = {
    "GUIDELLM__MAX_WORKER_PROCESSES": "1",
    "GUIDELLM__SPEC__BACKEND__API_KEY": KEY,
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": TORCH,
}
NUM_REQUESTS = 2
OUTPUT_TOKENS = 8


def _benchmark(request_format):
    """Run a short benchmark of streamed requests, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        backend = f"kind=openai_http,target={URL},model={MODEL},request_format={request_format}"
        settings = {
            "--backend": backend,
            "--profile": "kind=synchronous",
            "--constraint": f"kind=max_requests,count={NUM_REQUESTS}",
            "--tokenizer": f"kind=hf_auto,model={TOKENIZER}",
            "--data": f"kind=synthetic_text,prompt_tokens=32,output_tokens={OUTPUT_TOKENS}",
            "--data-loader": f"kind=pytorch,samples={NUM_REQUESTS},prefetch_factor=1",
            "--output": f"kind=json,path={report}",
        }
        words = [word for setting in settings.items() for word in setting]
        command = [sys.executable, "-m", "guidellm", "run", *words, "--disable-progress"]
        ran = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, cwd=folder, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-200:]
        (benchmark,) = json.loads(report.read_text())["benchmarks"]
    metrics = benchmark["metrics"]
    failed = [each["info"]["error"] for each in benchmark["requests"]["errored"] or ()]
    assert metrics["request_totals"]["successful"] == NUM_REQUESTS, failed[:1]
    assert metrics["output_token_count"]["successful"]["mean"] > 0
    assert metrics["time_to_first_token_ms"]["successful"]["mean"] > 0


def stream():
    _benchmark("/v1/chat/completions")


def completion():
    _benchmark("/v1/completions")


if __name__ == "__main__":
    main(globals())
