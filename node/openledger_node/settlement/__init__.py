"""Settlement: receipts become claims, claims become payout lists, and earnings are withdrawn."""
