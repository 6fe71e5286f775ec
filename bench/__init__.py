"""Measures Moorage beside a peer registry on one machine in one run.

It never decides whether tests pass: timings depend on the machine. What it measured it writes down.
"""
