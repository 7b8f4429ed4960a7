"""Development chains: an embedded EVM or anvil behind JSON-RPC, in a process of its own."""
