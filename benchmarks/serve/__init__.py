"""What a server draws for many clients at once, beside two servers around the peer: see `__main__`."""
