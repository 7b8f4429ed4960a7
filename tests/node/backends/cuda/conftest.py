"""Kernels run on Triton's interpreter here, which has to be said before anything imports triton."""

import os

os.environ["TRITON_INTERPRET"] = "1"
