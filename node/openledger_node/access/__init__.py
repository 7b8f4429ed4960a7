"""Named API keys for other people and programs."""
