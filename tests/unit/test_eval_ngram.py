"""Trigrams are a distribution over whole texts, and know what they have counted."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.eval.ngram import END, Trigram, words_of

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=4).map(" ".join), max_size=6)


@given(TEXTS, st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")))
def test_what_may_come_next_adds_up_to_one(texts: list[str], context: tuple[str, str]) -> None:
    """Of the words that were counted and one that was not: that one stands for all that are new."""
    model = Trigram.of(texts)
    known = set(model.counts.get((), ()))
    check_sum(model, context, {*known, "new"})


def check_sum(model: Trigram, context: tuple[str, str], words: set[str]) -> None:
    assert sum(model._probability(context, word) for word in words) == pytest.approx(1)


def test_the_check_catches_a_word_that_is_left_out() -> None:
    model = Trigram.of(["a b", "a c"])
    with pytest.raises(AssertionError):
        check_sum(model, ("", "a"), {"a", "b", END})


def test_what_was_counted_often_costs_little() -> None:
    model = Trigram.of(["a red circle"] * 50 + ["a blue square"] * 50)
    assert math.log(2) < model.nats("a red circle") < math.log(2) + 0.3
    assert model.nats("a red square") > model.nats("a red circle") + 2
    assert model.nats("circle red a") > model.nats("a red circle") + 5


def test_whole_texts_share_one_probability() -> None:
    """All texts of at most three words, of those that were counted and one that was not, have less than 1 together."""
    model = Trigram.of(["a b", "b", "a a b", ""])
    texts = [" ".join(words) for length in range(4) for words in product(["a", "b", "new"], repeat=length)]
    total = sum(math.exp(-model.nats(text)) for text in texts)
    assert 0.8 < total < 1


def test_the_end_of_a_text_is_a_word() -> None:
    assert words_of("a red circle") == ["a", "red", "circle", END]
    assert words_of("") == [END]
