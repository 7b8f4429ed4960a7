"""The engine: base models, adapters, and the child process that runs them."""
