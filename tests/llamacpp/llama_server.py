"""A stand-in for the program `llama-server`, for tests: the same flags, over llama.cpp's own HTTP server.

PyPI has no executable of llama.cpp. The package xllamacpp has its server as a library, with the same routes and the
same code behind them; only the reading of flags is ours. `make test-llamacpp` runs this file in an environment that
has that package and nothing else, so it imports nothing of this project.
"""

import argparse
import os
import signal
import sys
from typing import Any


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--version", action="store_true")
    parser.add_argument("-m", "--model")
    parser.add_argument("-c", "--ctx-size", type=int, default=0)
    parser.add_argument("-np", "--parallel", type=int, default=1)
    parser.add_argument("-t", "--threads", type=int, default=-1)
    parser.add_argument("-b", "--batch-size", type=int)
    parser.add_argument("-ub", "--ubatch-size", type=int)
    parser.add_argument("-ngl", "--gpu-layers", "--n-gpu-layers", type=int, default=-1)
    parser.add_argument("-dev", "--device")
    parser.add_argument("-ctk", "--cache-type-k", choices=["f16", "f32"], default="f16")
    parser.add_argument("-ctv", "--cache-type-v", choices=["f16", "f32"], default="f16")
    parser.add_argument("-fa", "--flash-attn", choices=["on", "off", "auto"], default="auto")
    parser.add_argument("-fit", "--fit", choices=["on", "off"], default="on")
    parser.add_argument("-kvu", "--kv-unified", action="store_true")
    parser.add_argument("-cram", "--cache-ram", type=int, default=8192)
    parser.add_argument("-sps", "--slot-prompt-similarity", type=float, default=0.1)
    parser.add_argument("--cache-idle-slots", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--context-shift", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--slots", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--webui", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--lora", action="append", default=[], help="use comma-separated values to load multiple adapters"
    )
    parser.add_argument("--lora-init-without-apply", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--api-key")
    return parser


def parameters(words: argparse.Namespace) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = words.model
    params.n_ctx = words.ctx_size
    params.n_parallel = words.parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = words.threads
    params.n_gpu_layers = words.gpu_layers
    params.kv_unified = words.kv_unified
    params.cache_ram_mib = words.cache_ram
    params.cache_idle_slots = words.cache_idle_slots
    params.slot_prompt_similarity = words.slot_prompt_similarity
    params.ctx_shift = words.context_shift
    params.endpoint_slots = words.slots
    params.ui = words.webui
    params.fit_params = words.fit == "on"
    numbers = {"f16": xllamacpp.ggml_type.GGML_TYPE_F16, "f32": xllamacpp.ggml_type.GGML_TYPE_F32}
    params.cache_type_k, params.cache_type_v = numbers[words.cache_type_k], numbers[words.cache_type_v]
    attention = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = {
        "on": attention.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        "off": attention.LLAMA_FLASH_ATTN_TYPE_DISABLED,
        "auto": attention.LLAMA_FLASH_ATTN_TYPE_AUTO,
    }[words.flash_attn]
    if words.batch_size:
        params.n_batch = words.batch_size
    if words.ubatch_size:
        params.n_ubatch = words.ubatch_size
    files = [file for line in words.lora for file in line.split(",")]
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(file, 1.0) for file in files]
    params.lora_init_without_apply = words.lora_init_without_apply
    params.hostnames = [words.host]
    params.port = words.port
    if words.api_key:
        params.api_keys = [words.api_key]
    return params


def main() -> None:
    words = flags().parse_args()
    if words.version:
        print("version: 0 (xllamacpp)", file=sys.stderr)
        return
    import xllamacpp

    try:
        server = xllamacpp.Server(parameters(words))
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    print("listening on", server.listening_address, flush=True)
    signal.pause()  # the server's own handler of SIGTERM ends the wait
    os._exit(0)


if __name__ == "__main__":
    main()
