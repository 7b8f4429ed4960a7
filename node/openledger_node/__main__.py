"""`python -m openledger_node` is `openledger-node`."""

from openledger_node.cli.main import main

main()
