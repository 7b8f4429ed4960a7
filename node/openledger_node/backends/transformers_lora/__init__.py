"""Any decoder that transformers loads, for bases that torch_lora's own does not have: slower, and as exact.

hooks.py (each row's own adapter, on the model's own linear maps) · backend.py (the plug itself)
"""
