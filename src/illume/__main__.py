"""`python -m illume` is the command line."""

from illume.cli import main

main()
