"""The serving desk: admission → engine → record."""
