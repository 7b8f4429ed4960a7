"""Readers: one plug for each format of files that people bring; `reading` runs them in a process with limits."""
