"""Adapter files from strangers, read without torch and checked before any of them is loaded."""
