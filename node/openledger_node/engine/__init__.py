"""The engine: a child process that batches sequences over one base model and many adapters.

sequence, scheduler, blocks, adapter cache, residency, sampler, worker, supervision; `engine.py` is its client.
"""
