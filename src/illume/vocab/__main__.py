"""Print the documentation of the sequence format: python -m illume.vocab > docs/format.md. It knows nothing else."""

import sys

from illume.vocab.document import document

sys.stdout.write(document())
