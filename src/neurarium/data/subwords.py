"""Subwords: texts as pieces of words, so that a few thousand tokens can write every word, known or not.

Byte-pair encoding begins with single bytes and joins, again and again, the two neighbours that stand side by side most
often in the texts that are learned from. Frequent words become one token, rare ones a few, and nothing is unknown.

Source: Sennrich, Haddow & Birch 2016, Neural machine translation of rare words with subword units, §3.2; by the library
`tokenizers`.
Differs: bytes instead of characters are joined (Radford et al. 2019, Language models are unsupervised multitask
learners, §2.2); a space belongs to the word after it.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from neurarium.data.vocabulary import END, MARKS, PAD, START
from neurarium.errors import DataError, InvalidValue, MissingExtra, require
from neurarium.parts.pairs import Marks, text_of

BYTES = 256  # what joining begins with


class Subwords:
    """Byte-pair encoding, the marks of `data.vocabulary` first: a `Coding`.

    Args:
        table: the tokeniser as the library writes it, JSON.

    Raises:
        MissingExtra: the library `tokenizers` is not installed.
        InvalidValue: the table is none.

    >>> words = Subwords.of(["a cat and a dog", "a cat"], size=270)
    >>> words.decode(words.encode("Ein Dachs, a cat"))  # also what was never seen
    'Ein Dachs, a cat'
    >>> words.pieces(words.encode("a cat"))
    ['a', 'cat']
    """

    marks = Marks(PAD, START, END)

    def __init__(self, table: str) -> None:
        self._read(table)

    def _read(self, table: str) -> None:
        try:
            self.tokenizer = library().Tokenizer.from_str(table)
        except MissingExtra:
            raise
        except Exception as error:  # the library raises no narrower one
            raise InvalidValue(f"this is no table of subwords: {' '.join(str(error).split())[:100]}") from None

    @classmethod
    def of(cls, texts: Iterable[str], *, size: int) -> "Subwords":
        """The subwords of some texts; the same texts give the same ones.

        Args:
            texts: what is learned from.
            size: how many tokens there are to be at the most, marks included.

        Raises:
            InvalidValue: `size` leaves no room for the marks and the bytes.
            DataError: there is no text.
        """
        require(size >= BYTES + len(MARKS), f"size is {size} subwords, but the bytes and marks take {BYTES + 4}")
        texts = list(texts)
        if not any(texts):
            raise DataError("there is no text to learn subwords from; give at least one sentence")
        kit = library()
        tokenizer = kit.Tokenizer(kit.models.BPE())
        tokenizer.normalizer = kit.normalizers.NFC()
        tokenizer.pre_tokenizer = kit.pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = kit.decoders.ByteLevel()
        trainer = kit.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(MARKS),
            initial_alphabet=sorted(kit.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        # The marks keep their numbers, but a text that spells one ("<end>") is read as the letters it has.
        table = {**json.loads(tokenizer.to_str()), "added_tokens": []}
        return cls(json.dumps(table))

    def __len__(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without marks."""
        return list(self.tokenizer.encode(text).ids)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of many texts, on all cores."""
        return [list(found.ids) for found in self.tokenizer.encode_batch_fast(list(texts))]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens up to the first end; other marks are passed over."""
        return str(self.tokenizer.decode(text_of(tokens, self.marks))).strip()

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token as one can read it; a byte that is no character of its own shows as �."""
        return [
            MARKS[token] if token < len(MARKS) else str(self.tokenizer.decode([token])).strip() or "␣"
            for token in tokens
        ]

    def state_dict(self) -> dict[str, Any]:
        """The table."""
        return {"table": self.tokenizer.to_str()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back to a table.

        Raises:
            InvalidValue: it has another number of tokens, which the network could not speak.
        """
        before = len(self)
        self._read(str(state.get("table")))
        require(len(self) == before, f"the saved table has {len(self)} subwords, but this run has {before}")


def library() -> Any:
    """The library `tokenizers`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.normalizers
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise MissingExtra(
            "subwords need the library tokenizers; install it with: pip install 'neurarium[text]'"
        ) from None
    return tokenizers
