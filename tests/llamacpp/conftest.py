"""Without llama.cpp there is nothing to run here, and nothing is collected."""

import os

from support.llama_programs import LLAMA_VARIABLE

collect_ignore_glob = [] if os.environ.get(LLAMA_VARIABLE) else ["test_*.py"]
