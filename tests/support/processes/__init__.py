"""Nodes as operating system processes on the fake model: `running_node(home)` gives one node, started as a user does.

`running_network(root)` gives a `RunningNetwork`: a chain, a bootstrap node, the sellers A and B, and the requester R.
A `LivingPeer` is a peer without a node.
"""
