"""The ledger: typed rows in one SQLite file, written by one process."""
