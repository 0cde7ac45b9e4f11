"""A server under mixed, rude and wrong requests for a while: see `__main__`."""
