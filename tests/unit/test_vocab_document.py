"""docs/format.md is what the code says."""

import subprocess
import sys
from pathlib import Path

from illume.vocab.document import document

FILE = Path(__file__).parents[2] / "docs" / "format.md"


def test_the_documentation_of_the_format_is_fresh() -> None:
    assert FILE.read_text("utf-8") == document(), "run: python -m illume.vocab > docs/format.md"


def test_the_command_prints_it() -> None:
    printed = subprocess.run([sys.executable, "-m", "illume.vocab"], capture_output=True, check=True).stdout
    assert printed.decode("utf-8") == document()
