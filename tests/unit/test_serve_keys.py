"""Keys: who is let in, from where they come, and that each is compared, whichever one fits."""

import hmac
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import UsageError
from illume.serve.keys import VARIABLE, Keys, gather

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@given(st.lists(WORDS, min_size=1, unique=True), WORDS)
def test_only_a_key_lets_in(keys: list[str], other: str) -> None:
    known = Keys(keys)
    assert [known.number_of(f"Bearer {key}") for key in keys] == list(range(1, len(keys) + 1))
    assert known.number_of(f"Bearer {other}") == (keys.index(other) + 1 if other in keys else None)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic a", "a", "Bearer ab", "Bearer \ud800"])
def test_what_is_no_key_does_not(header: str | None) -> None:
    assert Keys(["a"]).number_of(header) is None


def test_without_keys_everyone_is_let_in() -> None:
    assert (Keys().number_of(None), bool(Keys())) == (0, False)


def check_each_is_compared(make: Callable[[list[str]], Keys], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many comparisons of whole digests, whichever key fits, or none."""
    counts = []
    compare = hmac.compare_digest
    for asked in ("a", "b", "c", "d"):
        calls: list[int] = []
        monkeypatch.setattr(hmac, "compare_digest", lambda x, y, calls=calls: calls.append(len(x)) or compare(x, y))
        make(["a", "b", "c"]).number_of(f"Bearer {asked}")
        counts.append(calls)
    assert counts == [[32, 32, 32]] * 4


def test_all_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    check_each_is_compared(Keys, monkeypatch)


def test_the_check_catches_keys_that_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hasty(Keys):
        def number_of(self, authorization: str | None) -> int | None:
            given = str(authorization).split()[1]
            return next((n for n, key in enumerate("abc") if hmac.compare_digest(key, given)), None)

    with pytest.raises(AssertionError):
        check_each_is_compared(Hasty, monkeypatch)


def test_keys_come_from_flags_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nfirst\n\n second \n")
    assert gather(["flag", "first"], file, {VARIABLE: "a, b"}) == ("flag", "first", "second", "a", "b")
    assert gather([], None, {}) == ()


@pytest.mark.parametrize("key", ["", " ", "two words", "ä", "a\nb"])
def test_what_can_be_no_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        gather([key], None, {})
    assert not key.strip() or key not in str(caught.value)


def test_a_source_without_keys_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# none\n")
    for flags, file, variables in [
        ([], tmp_path / "empty", {}),
        ([], tmp_path / "gone", {}),
        ([], None, {VARIABLE: ""}),
    ]:
        with pytest.raises(UsageError):
            gather(flags, file, variables)
