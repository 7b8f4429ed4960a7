"""Payments: both sides of a paid stream.

The payer's side: payer, purchase, payer channels, spending limit.
The seller's side: seller, accounts, credit, delivery, receipts.
"""
