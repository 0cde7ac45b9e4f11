"""Text and turns: any Unicode round-trips, nothing a user writes is special, files load elsewhere."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from illume.core.config import from_dict, to_dict
from illume.core.errors import FormatError
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.text import (
    CHATML,
    PLAIN,
    TEMPLATES,
    VICUNA,
    ChatTemplate,
    HuggingFaceTokenizer,
    TextFormat,
    Turn,
    train_byte_bpe,
)

SPECIALS = tuple(dict.fromkeys(PLAIN.specials + CHATML.specials + VICUNA.specials))
VERDICT = Verdict.of({name: Criterion(True, "2 red circles", name != "relation") for name in CRITERIA}).to_json()
CORPUS = ["Generate an image of two red circles", "a red circle left of a blue square", VERDICT] * 4


@cache
def tokenizer() -> HuggingFaceTokenizer:
    return train_byte_bpe(CORPUS, 400, SPECIALS)


TEXTS = st.lists(st.one_of(st.sampled_from(SPECIALS), st.text(max_size=8), st.just(VERDICT[:30])), max_size=4)


def check_text(tokenizer: Any, text: str) -> None:
    """A text comes back, and holds no special id."""
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_ids & set(ids)
    assert all(0 <= id < tokenizer.size for id in ids)


@given(TEXTS.map("".join))
def test_any_text_comes_back_and_is_never_special(text: str) -> None:
    check_text(tokenizer(), text)


def test_a_tokenizer_that_lets_text_be_special_is_caught() -> None:
    class Forgeable:
        inner = Tokenizer.from_str(tokenizer()._tokenizer.to_str())
        size, special_ids = tokenizer().size, tokenizer().special_ids

        def encode(self, text: str) -> list[int]:
            return self.inner.encode(text).ids

        def decode(self, ids: list[int]) -> str:
            return self.inner.decode(ids, skip_special_tokens=False)

    check_text(Forgeable(), "a red circle")
    with pytest.raises(AssertionError):
        check_text(Forgeable(), "a red <end> circle")


def test_the_syntax_of_a_verdict_is_chunked() -> None:
    chunks = [tokenizer().decode([id]) for id in tokenizer().encode(VERDICT)]
    for chunk in (
        '{"object":{',
        '"applicable":true',
        ',"reason":"',
        '","passed":true}',
        ',"counting":{',
        ',"overall":false}',
    ):
        assert chunk in chunks
    assert len(chunks) < 45


def test_training_is_deterministic_and_bounded() -> None:
    again = train_byte_bpe(CORPUS, 400, SPECIALS)
    assert again._tokenizer.to_str() == tokenizer()._tokenizer.to_str()
    assert tokenizer().size <= 400
    assert train_byte_bpe([], 500, ("<x>",)).size == 257
    assert [tokenizer().special(name) for name in SPECIALS] == list(range(len(SPECIALS)))


def test_what_cannot_be_trained_or_encoded_is_refused() -> None:
    with pytest.raises(FormatError, match="256"):
        train_byte_bpe([], 257, ("<a>", "<b>"))
    with pytest.raises(FormatError, match="differ"):
        train_byte_bpe([], 300, ("<a>", "<a>"))
    with pytest.raises(FormatError, match="surrogate pair at character 1"):
        tokenizer().encode("a\udc00")
    with pytest.raises(FormatError, match="no special token '<nobody>'"):
        tokenizer().special("<nobody>")


def test_saved_files_load_here_and_in_transformers(tmp_path: Path) -> None:
    tokenizer().save(tmp_path)
    loaded = HuggingFaceTokenizer.load(tmp_path)
    assert (loaded.size, loaded.special_ids) == (tokenizer().size, tokenizer().special_ids)
    text = "<user> two {red} circles 日本"
    assert loaded.encode(text) == tokenizer().encode(text)
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == loaded.size
    assert theirs("two red circles").input_ids == loaded.encode("two red circles")
    assert theirs("<user>").input_ids == [loaded.special("<user>")]
    assert theirs.decode(loaded.encode(text)) == text
    assert HuggingFaceTokenizer(theirs.backend_tokenizer).encode(text) == loaded.encode(text)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no text tokenizer"):
        HuggingFaceTokenizer.load(tmp_path)


@pytest.mark.parametrize("spoil", ["", "{", '{"version": "1.0"}', "\0\1"])
def test_a_spoilt_tokenizer_file_is_refused(tmp_path: Path, spoil: str) -> None:
    (tmp_path / "tokenizer.json").write_text(spoil)
    with pytest.raises(FormatError, match=r"tokenizer\.json"):
        HuggingFaceTokenizer.load(tmp_path)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_survive_their_dictionary_and_open_each_role_apart(name: str) -> None:
    template = TEMPLATES[name]
    assert from_dict(ChatTemplate, json.loads(json.dumps(to_dict(template)))) == template
    text = TextFormat(tokenizer(), template)
    assert len(set(text.openings.values())) == 3
    assert all(text.role_at([99, *ids], 1) == role for role, ids in text.openings.items())
    assert text.role_at([text.end], 0) is None
    plain = {id for ids in text.plain for id in ids}
    assert plain == set(range(text.size)) - tokenizer().special_ids


def test_a_template_whose_turns_could_be_mistaken_is_refused() -> None:
    with pytest.raises(FormatError, match="could be read as"):
        TextFormat(tokenizer(), ChatTemplate(Turn("<s>"), Turn("<s>", "ab"), Turn("<user>"), end="</s>"))
    with pytest.raises(FormatError, match="no special token"):
        TextFormat(train_byte_bpe([], 300, ("<user>",)), PLAIN)


def test_a_token_that_is_not_special_does_not_bracket_turns() -> None:
    plain = Tokenizer(models.WordLevel({"<user>": 0, "<end>": 1, "[x]": 2}, unk_token="[x]"))
    plain.add_tokens(["<user>", "<end>"])
    with pytest.raises(FormatError, match="no special token"):
        HuggingFaceTokenizer(plain).special("<user>")


@pytest.mark.parametrize(
    "module", ["illume.vocab.text", "illume.vocab.grammar", "illume.vocab.document", "illume.tasks.prompts"]
)
def test_importing_the_format_imports_neither_torch_nor_numpy(module: str) -> None:
    code = f"import {module}, sys; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'transformers')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_fingerprint_is_of_what_ids_mean(tmp_path: Path) -> None:
    tokenizer().save(tmp_path)
    assert HuggingFaceTokenizer.load(tmp_path).fingerprint == tokenizer().fingerprint
    other = train_byte_bpe(["zzz zzz"] * 9, tokenizer().size, PLAIN.specials)
    assert other.fingerprint != tokenizer().fingerprint
