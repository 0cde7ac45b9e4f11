"""Complete runs: what is trained, on what, for how long."""
