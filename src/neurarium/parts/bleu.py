r"""BLEU: how many runs of one to four words a text shares with what people wrote, by sacrebleu.

Source: Papineni, Roukos, Ward & Zhu 2002, BLEU: a method for automatic evaluation of machine translation, §2.1.2 and
§2.3; Post 2018, A call for clarity in reporting BLEU scores (sacrebleu).
"""

from collections.abc import Sequence
from itertools import zip_longest

from neurarium.errors import require


def bleu(written: Sequence[str], references: Sequence[Sequence[str]], *, tokenizer: str = "13a") -> float:
    """BLEU of a whole set of texts, from 0 to 100, smoothed as sacrebleu does by default.

    Args:
        written: the texts.
        references: for each text, every text that would be right.
        tokenizer: sacrebleu's name of what splits texts into words; "none" where spaces already do.

    Raises:
        InvalidValue: there is no text, not as many as sets of references, or one without a reference.

    >>> round(bleu(["a red circle above a square"], [["a red circle above a cross"]]), 2)
    75.98
    """
    import sacrebleu  # not for everyone who imports a caption's network

    require(bool(written), "there is no text to score; give at least one")
    count = len(references)
    require(len(written) == count, f"there are {len(written)} texts, but references for {count}; each needs its own")
    require(all(references), "a text has no reference; give at least one for each")
    # sacrebleu wants the first reference of every text, then the second; None where there is none.
    columns = [list(column) for column in zip_longest(*references)]
    return float(sacrebleu.corpus_bleu(list(written), columns, tokenize=tokenizer, force=True).score)
