"""The market: advertisements, calls, bids, awards, and the router between this node and others."""
