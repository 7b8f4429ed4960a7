"""Models on disk: base models and adapters, their files, downloads and conversions.

It holds bases, adapters, packed weights and decoder configuration; `adapter_files/` reads adapters of strangers.
"""
