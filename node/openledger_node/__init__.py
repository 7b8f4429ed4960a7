"""A node that serves LoRA adapters on one base model: the daemon, its services, and its command line."""

__version__: str


def __getattr__(name: str) -> str:
    """Read `__version__` from the installed package when it is asked for, which takes longer than the help does."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version

    return version("openledger-node")
