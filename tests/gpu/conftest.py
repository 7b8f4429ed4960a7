"""Without a card there is nothing to run here, and nothing is collected."""

from support.on_card import MODE, set_up_kernels

collect_ignore_glob = [] if MODE else ["test_*.py"]

if MODE:
    set_up_kernels()
