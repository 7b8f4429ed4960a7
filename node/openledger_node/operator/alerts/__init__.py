"""Alerts: what needs the owner of an unattended node, sent to a webhook and to ntfy."""
