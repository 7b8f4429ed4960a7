"""This node on one network: its peers, what it sells and buys there, and payments on behalf of guests."""
