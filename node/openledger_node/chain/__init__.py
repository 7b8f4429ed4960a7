"""The chain: one client socket, an outbox that sends each transaction once, and a watcher that survives reorgs."""
