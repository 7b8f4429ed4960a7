"""The operator: what the owner of this machine sees and controls.

status, jobs, usage, prices, limits, pauses, the adapter library, access; `doctor/` checks the installation.
"""
