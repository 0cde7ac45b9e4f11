"""The sequence format, in plain Python: the only place that knows an id, a special token or a row break."""
