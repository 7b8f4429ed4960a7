"""Named API keys for callers beside the owner, each with a daily budget of money and tokens."""
