"""Does judging its own drawings help a model to draw? Arms, controls and seeds, into small files and one table.

    python -m benchmarks.enhance [--arms a,b] [--seeds 0-4] [--base RUN] [--table] [--smoke] [KEY=VALUE ...]

Resumable: a finished (arm, seed) is one JSON under results/enhance/ and is skipped; what was killed goes on. Pages and
plot are made from these files alone (`--table`). `--smoke` runs everything tiny, in a folder of its own that is thrown
away. Ends in one line of JSON.
"""
