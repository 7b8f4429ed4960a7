"""Without vLLM there is nothing to run here, and nothing is collected."""

import os

from support.real_vllm import VLLM_VARIABLE

collect_ignore_glob = [] if os.environ.get(VLLM_VARIABLE) else ["test_*.py"]
