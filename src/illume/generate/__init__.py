"""Sequences to answers and drawings."""
