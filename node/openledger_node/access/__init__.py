"""Named API keys: who may ask this node beside its owner, and how much of a day's money and tokens each may use."""
