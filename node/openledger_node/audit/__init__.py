"""Audit of one network from outside: fold its events, read its storage, and compare both."""
