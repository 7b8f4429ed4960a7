"""Nodes as operating system processes on the fake model: `running_node(home)` gives one node, started as a user does.

A `LivingPeer` is a peer without a node.
"""
