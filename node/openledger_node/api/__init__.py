"""The door: HTTP to protocol types and back, nothing else."""
