"""Proof of Attribution: the rows that an answer draws on, and the shares of their contributors."""
