"""One network's money, composed of chain, ledger, keys and desks, for the daemon and for verbs without one."""
