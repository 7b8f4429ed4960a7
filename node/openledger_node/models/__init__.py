"""Models on disk: base models and adapters, their files, downloads and conversions.

bases, adapters, packed weights, decoder configuration; `adapter_files/` reads what strangers wrote.
"""
