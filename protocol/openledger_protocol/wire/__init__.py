"""The messages between peers, one module per stream protocol."""
