"""Signals of poa-v3: from a step's taps to three vectors of signed bytes, for answers and for rows.

taps → trace (traces.py, with sketches.py) → signals (statistics.py) → files beside the text index (files.py).
"""
