"""Slow, obvious versions of the kernels, in NumPy."""
