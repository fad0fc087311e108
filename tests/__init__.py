"""The suite, and the type checker that enforces every signature of neurarium while it runs."""

from typing import Self

from beartype import BeartypeConf, FrozenDict, beartype

checked = beartype(
    conf=BeartypeConf(
        # Methods are decorated one by one, where `Self` has no class to stand for.
        hint_overrides=FrozenDict({Self: object}),
        # As for a static checker, an int is good enough for a float.
        is_pep484_tower=True,
        # Looking into random items of a list would move the global random state that tests look after.
        is_random=False,
    )
)
