"""A node that serves LoRA adapters on one base model: the daemon, its services, and its command line."""

from importlib.metadata import version

__version__ = version("openledger-node")
