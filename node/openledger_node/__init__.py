"""A node that serves LoRA adapters on one base model: the daemon, its desks and machines, and its command line."""

from importlib.metadata import version

__version__ = version("openledger-node")
