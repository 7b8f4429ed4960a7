"""The conveyor belt between desks: typed rows in one SQLite file, written by one process."""
