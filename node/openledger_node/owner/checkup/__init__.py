"""What `doctor` looks at: a file a section, a function a check."""
