"""Loops that numba compiles for the processor at hand, run on torch's own threads. Imported where numba is known to be."""
