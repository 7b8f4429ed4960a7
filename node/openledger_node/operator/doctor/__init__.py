"""`doctor`: one file a section, one function a check."""
