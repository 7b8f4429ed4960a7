"""Development chains: an embedded EVM or anvil behind JSON-RPC, in a process of its own."""

from .late_precompiles import import_precompiles_late

import_precompiles_late()  # here, because the EVM must not be imported before
