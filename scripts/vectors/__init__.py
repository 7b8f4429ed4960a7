"""The cases behind tests/vectors/*.json, a module for each part of the protocol."""
