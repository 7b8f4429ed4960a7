"""The chain: one client socket, an outbox that sends each intent once, and a watcher that survives reorgs."""
