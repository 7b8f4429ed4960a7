"""Any decoder that transformers loads, for bases that torch_lora's decoder does not support: slower, but as exact.

hooks.py adds each row's adapter to the model's own linear maps; backend.py is the plug.
"""
