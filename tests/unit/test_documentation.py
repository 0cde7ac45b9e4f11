"""Every page of docs/ is in the index; every link leads to a file and a heading, every name is where a page says."""

from pathlib import Path

import pytest

from fixtures.documents import ROOT, dead_links, headings, missing_names

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_are_where_a_page_says(page: Path) -> None:
    assert missing_names(page) == []


def unlisted(index: str, pages: list[str]) -> list[str]:
    """The pages that have no line, or several, in an index."""
    return [page for page in pages if index.count(f"]({page})") != 1]


def test_the_index_has_a_line_for_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = [page.name for page in DOCS.glob("*.md") if page.name != "README.md"]
    assert len(pages) >= 12
    assert unlisted(index, pages) == []


def test_the_index_check_catches_a_page_left_out() -> None:
    assert unlisted("[a](a.md) [b](b.md) [b](b.md)", ["a.md", "b.md", "c.md"]) == ["b.md", "c.md"]


@pytest.mark.parametrize(
    ("link", "dead"),
    [
        ("page.md", False),
        ("other.md#large-pictures-and-lora", False),
        ("#here", False),
        ("https://example.org/nothing", False),
        ("gone.md", True),
        ("other.md#small-pictures", True),
        ("other.md#no-heading", True),
        ("#there", True),
    ],
)
def test_the_link_check_catches_a_dead_link(link: str, dead: bool, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\nSee [this]({link}).\n", encoding="utf-8")
    (tmp_path / "other.md").write_text("# Large pictures, and `LoRA`\n\n```\n# no heading\n```\n", encoding="utf-8")
    assert dead_links(page) == ([link] if dead else [])


def test_links_in_code_are_none(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = f[0](y)\n```\n", encoding="utf-8")
    assert dead_links(page) == []


def test_headings_are_named_as_github_names_them() -> None:
    assert headings("# A: `b_c` (d)\n## What's 2-D?\n") == {"a-b_c-d", "whats-2-d"}


@pytest.mark.parametrize(
    ("name", "path", "missing"),
    [
        ("Mixture", "src/illume/data/mixture.py", False),
        ("Mixture.at", "src/illume/data/mixture.py", False),
        ("Recipe.stages", "src/illume/recipes/recipe.py", False),
        ("data/mixture.py", "src/illume/data/mixture.py", False),
        ("Mixture", "src/illume/recipes/data.py", True),
        ("Mixture.of", "src/illume/data/mixture.py", True),
        ("mixture", "src/illume/data/mixture.py", True),
    ],
)
def test_the_check_of_names_catches_one_that_is_elsewhere(name: str, path: str, missing: bool, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"[`{name}`]({ROOT / path})", encoding="utf-8")
    assert missing_names(page) == ([name] if missing else [])
