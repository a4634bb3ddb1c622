"""Loaded by every Python process whose PYTHONPATH names this folder: a search whose environment has a plan of faults."""

import os

if "FAULT_PLAN" in os.environ:
    from tests.faults.fault_injection import install

    install()
