"""The network: byte streams between peers, and messages over them."""
