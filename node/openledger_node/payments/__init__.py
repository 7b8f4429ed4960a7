"""Payments: both sides of a paid stream.

payer, purchase, payer channels, spending limit; seller, accounts, credit, delivery, receipts.
"""
