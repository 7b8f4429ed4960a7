"""The engine: a child process that batches sequences over one base model and many adapters.

It holds sequences, scheduler, blocks, adapter cache, sampler and worker; `engine.py` is the daemon's client.
"""
