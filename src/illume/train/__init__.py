"""One loop, four objectives."""
