"""Parts that the backends over a model server share.

child.py runs a server that ends with us, client.py speaks HTTP, stream.py reads one answer in a thread, and texts.py
lets the engine's steps take the tokens of all answers.
"""
