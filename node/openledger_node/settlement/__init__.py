"""Settlement: receipts become claims, claims name who is owed, and what was earned is taken out."""
