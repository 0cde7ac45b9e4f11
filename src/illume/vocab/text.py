"""Text to ids and back, and how the turns of a chat are bracketed.

It does not know images, nor what anyone says. A user's words never become a special id, whatever they spell.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from illume.core.errors import FormatError
from illume.core.files import write_json, write_text
from illume.core.streams import seed_of
from illume.vocab.messages import ROLES, Role

_TEXTS_KEPT = 1 << 12  # with their ids: the same questions and answers come again and again


class TextTokenizer(Protocol):
    """What the format needs of a text tokenizer."""

    @property
    def size(self) -> int:
        """Number of ids, specials included."""
        ...

    @property
    def special_ids(self) -> frozenset[int]:
        """Every id that no text can yield."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digits that differ where ids mean other words."""
        ...

    def encode(self, text: str) -> list[int]:
        """Plain ids; never a special one, whatever the text says."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of plain ids."""
        ...

    def special(self, name: str) -> int:
        """The id of a special token; FormatError if there is none of that name."""
        ...


class HuggingFaceTokenizer:
    """A `tokenizers.Tokenizer`, with its specials out of reach of any text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())  # ours: the setting below must not leak to the caller
        self._tokenizer.encode_special_tokens = True  # "encode specials as text", says tokenizers: what we want
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._kept = lru_cache(maxsize=_TEXTS_KEPT)(self._encoded)

    @classmethod
    def load(cls, name: str | Path) -> "HuggingFaceTokenizer":
        """From a folder or a hub name: its `tokenizer.json`, or what transformers makes of a model that has none."""
        file = Path(name) / "tokenizer.json"
        if file.is_file():
            return _read(file)
        from transformers import AutoTokenizer  # heavy, and only for tokenizers without a tokenizer.json

        try:
            return cls(AutoTokenizer.from_pretrained(str(name), trust_remote_code=False).backend_tokenizer)
        except Exception as error:  # of many classes; each means that there is no such tokenizer here
            raise FormatError(f"no text tokenizer could be loaded from {name}: {error}") from error

    @cached_property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def _specials(self) -> dict[str, int]:
        return {t.content: id for id, t in self._tokenizer.get_added_tokens_decoder().items() if t.special}

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of the special tokens."""
        return frozenset(self._specials.values())

    @cached_property
    def fingerprint(self) -> str:
        """Of all tokens with their ids; the same whatever wrote the tokenizer's file."""
        return f"{seed_of(*(f'{id} {token}' for id, token in self._tokens())):016x}"

    def _tokens(self) -> list[tuple[int, str]]:
        return sorted((id, token) for token, id in self._tokenizer.get_vocab(with_added_tokens=True).items())

    def encode(self, text: str) -> list[int]:
        """Plain ids of a text; FormatError for half of a surrogate pair, which is no text."""
        return list(self._kept(text))

    def _encoded(self, text: str) -> tuple[int, ...]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise FormatError(f"text with half a surrogate pair at character {error.start}: {text!r:.80}") from error
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of plain ids. Bytes that are no UTF-8 become U+FFFD."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def special(self, name: str) -> int:
        """The id of a special token; FormatError names those there are."""
        if name not in self._specials:
            raise FormatError(f"the text tokenizer has no special token {name!r}; it has {', '.join(self._specials)}")
        return self._specials[name]

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, as transformers' AutoTokenizer reads them."""
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "additional_special_tokens": list(self._specials),
            "clean_up_tokenization_spaces": False,
        }
        write_text(Path(folder) / "tokenizer.json", self._tokenizer.to_str(pretty=True))
        write_json(Path(folder) / "tokenizer_config.json", config)


def _read(file: Path) -> HuggingFaceTokenizer:
    try:
        return HuggingFaceTokenizer(Tokenizer.from_file(str(file)))
    except Exception as error:  # the library raises nothing more particular
        raise FormatError(f"{file} is not a text tokenizer: {error}") from error


# Compact JSON's syntax around one key (`{"object":{`, `,"passed":true}`) is one chunk, so that a verdict costs few ids.
JSON_CHUNK = r'"?\}*[{,]?"[a-z_]+":(?:true|false|null|\{|")?\}*'
# The words of GPT-2, with the quotation mark kept apart so that it can open a chunk of the above.
WORD = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}"]+| ?"|\s+(?!\S)|\s+"""


def train_byte_bpe(texts: Iterable[str], size: int, specials: Sequence[str]) -> HuggingFaceTokenizer:
    """Byte-level BPE: any Unicode text round-trips. Specials get the first ids; `size` counts them and is a maximum,
    as few texts may offer fewer merges. The same texts in the same order give the same tokenizer."""
    if size < 256 + len(specials):
        raise FormatError(f"a byte-level vocabulary needs 256 ids and {len(specials)} for its specials, not {size}")
    if len(set(specials)) != len(specials):
        raise FormatError(f"special tokens must differ from each other: {', '.join(specials)}")
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(f"{JSON_CHUNK}|{WORD}"), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return HuggingFaceTokenizer(tokenizer)


@dataclass(frozen=True)
class Turn:
    """How a role's turn opens: a special token, then maybe a name in plain text."""

    start: str
    name: str = ""


@dataclass(frozen=True)
class ChatTemplate:
    """How the turns of a chat are bracketed.

    Starts and `end` are special tokens, so that no text can forge a turn. `after_end` is plain text after each end;
    `begin` a special token before the first turn; `default_system` the words of a system turn that stands before a
    conversation that brings none.
    """

    system: Turn
    user: Turn
    assistant: Turn
    end: str
    after_end: str = ""
    begin: str | None = None
    default_system: str | None = None

    @property
    def turns(self) -> dict[Role, Turn]:
        """Role -> how its turn opens."""
        return {"system": self.system, "user": self.user, "assistant": self.assistant}

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens a text tokenizer must have, each once."""
        begin = () if self.begin is None else (self.begin,)
        return tuple(dict.fromkeys((*begin, *(turn.start for turn in self.turns.values()), self.end)))


PLAIN = ChatTemplate(Turn("<system>"), Turn("<user>"), Turn("<assistant>"), end="<end>")
CHATML = ChatTemplate(
    system=Turn("<|im_start|>", "system\n"),
    user=Turn("<|im_start|>", "user\n"),
    assistant=Turn("<|im_start|>", "assistant\n"),
    end="<|im_end|>",
    after_end="\n",
)
VICUNA = ChatTemplate(
    system=Turn("<s>", "SYSTEM: "), user=Turn("<s>", "USER: "), assistant=Turn("<s>", "ASSISTANT: "), end="</s>"
)
TEMPLATES: Mapping[str, ChatTemplate] = {"plain": PLAIN, "chatml": CHATML, "vicuna": VICUNA}


class TextFormat:
    """A text tokenizer and a chat template, as ids."""

    def __init__(self, tokenizer: TextTokenizer, template: ChatTemplate) -> None:
        """FormatError if the tokenizer lacks a special of the template, or two roles could be taken for each other."""
        self.tokenizer = tokenizer
        self.template = template
        self.begin = () if template.begin is None else (tokenizer.special(template.begin),)
        self.end = tokenizer.special(template.end)
        self.after_end = tuple(tokenizer.encode(template.after_end))
        self.openings: dict[Role, tuple[int, ...]] = {
            role: (tokenizer.special(turn.start), *tokenizer.encode(turn.name)) for role, turn in template.turns.items()
        }
        self._check_openings()

    def _check_openings(self) -> None:
        for one in ROLES:
            for other in ROLES:
                shorter = self.openings[one]
                if one != other and self.openings[other][: len(shorter)] == shorter:
                    raise FormatError(f"in this chat template a turn of {other} could be read as one of {one}")

    @property
    def size(self) -> int:
        """Number of text ids, specials included."""
        return self.tokenizer.size

    @cached_property
    def plain(self) -> tuple[range, ...]:
        """The ids that text may use: all but the specials."""
        stops = [*sorted(self.tokenizer.special_ids), self.size]
        starts = [0, *(stop + 1 for stop in stops)]
        return tuple(range(start, stop) for start, stop in zip(starts, stops, strict=False) if start < stop)

    def role_at(self, ids: Sequence[int], position: int) -> Role | None:
        """Whose turn opens at a position, if one does."""
        for role, opening in self.openings.items():
            if tuple(ids[position : position + len(opening)]) == opening:
                return role
        return None
