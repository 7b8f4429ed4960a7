"""`doctor`: one file per section, one function per check."""
