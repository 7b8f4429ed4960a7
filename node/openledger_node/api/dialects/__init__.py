"""Other programs' APIs over the same requests and answers: thin maps that keep nothing between two requests."""
