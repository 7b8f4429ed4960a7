"""An outside auditor's arithmetic over one network: its events folded, its storage read, and both compared."""
