"""Settlement: receipts become claims, claims become payout lists, and rewards are withdrawn."""
