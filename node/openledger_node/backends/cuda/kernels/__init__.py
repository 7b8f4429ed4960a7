"""Kernels in Triton, each beside its launcher: what a step runs on the card besides the base's wide products."""
