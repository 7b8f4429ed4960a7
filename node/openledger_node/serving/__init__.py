"""Serving: admission and the queue in front of the engine, and one record per request."""
