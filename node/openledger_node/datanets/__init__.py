"""Datanets: rows that people give, and who gave each of them."""
