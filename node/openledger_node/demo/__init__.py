"""The whole economy in one run: three nodes that do not know each other, one chain, and an audit at the end."""
