"""What peers say to each other, message by message."""
