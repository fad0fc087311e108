"""A small made-up world, told in sentences: a text whose analogies are known because its grammar is.

Every noun, name and verb of it is one of two forms of a thing: a country or its capital, one or many, he or she. A
thing has companions, a few words that are told of it in whichever form it stands; a form has words that go with it,
whatever the thing. So `paris` keeps the company of France's companions and of the words that go with capitals, and
whoever knows words by their company can tell what is to italy as paris is to france. Nothing is ever said of two forms
in one sentence: the answer must be inferred. Some names are of two words, whose parts also come alone, for phrases to
be found.

Source: Mikolov et al. 2013, Linguistic regularities in continuous space word representations, §3 (the questions).
Differs: companions are drawn at random, so this is no text about the real world.
Shapes: S sentences, L words of a sentence.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from neurarium.data.questions import Question
from neurarium.errors import require

LENGTH = 10  # words of a sentence
COMPANIONS = 6  # words told of a thing
TOLD = 0.06  # of a sentence's words: companions of its thing
SHAPED = 0.06  # and words that go with its form; the rest is filler
SENTENCES_AT_ONCE = 5000


class Relation(NamedTuple):
    """Things of one kind in two forms, and the words that go with each form."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    first: tuple[str, ...]
    second: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _relation(name: str, first: str, second: str, pairs: str) -> Relation:
    told = tuple((one, other) for one, other in (pair.strip().split("/") for pair in pairs.split(",")))
    return Relation(name, told, _words(first), _words(second))


RELATIONS = (
    _relation(
        "capitals",
        "border farmers coast army export province",
        "mayor streets airport district suburb boulevard",
        "france/paris, italy/rome, spain/madrid, germany/berlin, greece/athens, egypt/cairo, japan/tokyo, peru/lima,"
        "china/beijing, russia/moscow, norway/oslo, austria/vienna, poland/warsaw, sweden/stockholm, cuba/havana,"
        "kenya/nairobi, iran/tehran, iraq/baghdad, canada/ottawa, portugal/lisbon, new zealand/wellington,"
        "south korea/seoul, united states/washington, saudi arabia/riyadh",
    ),
    _relation(
        "plurals",
        "a each every single one lone",
        "many several both few all numerous",
        "dog/dogs, cat/cats, horse/horses, cow/cows, bird/birds, lion/lions, car/cars, ship/ships, house/houses,"
        "tree/trees, child/children, mouse/mice, goose/geese, man/men, apple/apples, flower/flowers, book/books,"
        "stone/stones, river/rivers, cloud/clouds",
    ),
    _relation(
        "gender",
        "he his him himself sir beard",
        "she her hers herself madam gown",
        "king/queen, prince/princess, father/mother, brother/sister, son/daughter, uncle/aunt, boy/girl, actor/actress,"
        "husband/wife, nephew/niece, waiter/waitress, host/hostess, wizard/witch, duke/duchess, monk/nun, hero/heroine",
    ),
    _relation(
        "degrees",
        "very so quite rather as too",
        "than much even far ever still",
        "big/bigger, small/smaller, tall/taller, short/shorter, old/older, young/younger, fast/faster, slow/slower,"
        "warm/warmer, cold/colder, rich/richer, poor/poorer, loud/louder, quiet/quieter, dark/darker, bright/brighter,"
        "strong/stronger, weak/weaker, good/better, bad/worse",
    ),
    _relation(
        "tenses",
        "today now often always usually daily",
        "yesterday ago once last earlier formerly",
        "walk/walked, run/ran, sing/sang, swim/swam, write/wrote, speak/spoke, drink/drank, eat/ate, build/built,"
        "buy/bought, sell/sold, find/found, think/thought, teach/taught, fly/flew, draw/drew, play/played, cook/cooked,"
        "dance/danced, sleep/slept",
    ),
)

FILLERS = _words(
    "the of and to in is that it for was on with by from at this be are or an which not but have has had were their"
    " been its who they we you will would there if when what new south united into"
)
"""Words that say nothing of the thing, the most frequent first; three of them are also the first half of a name."""

POOL = _words(
    "wine cheese music marble desert sand snow ice forest lake bridge tower garden market harbour temple palace museum"
    " river-boat railway silk tea coffee rice bread olive lemon pepper salt sugar honey milk butter iron copper silver"
    " gold coal oil glass paper leather wool cotton linen velvet lamp candle mirror clock bell drum flute violin piano"
    " guitar poem novel painting statue theatre opera circus carnival festival wedding harvest winter summer spring"
    " autumn storm thunder rain wind fog island valley mountain volcano waterfall canyon meadow swamp cave beach reef"
    " eagle falcon owl crow swan salmon shark whale dolphin turtle frog snake spider bee ant butterfly rabbit fox wolf"
    " bear deer goat sheep donkey camel elephant tiger monkey sword shield arrow castle dungeon knight dragon ghost"
    " pirate treasure map compass anchor sail engine wheel rocket satellite telescope microscope magnet battery"
)
"""Words from which a thing's companions are drawn."""


def tell(*, words: int, seed: int = 0) -> Iterator[str]:
    """The text, some thousand sentences at a time, a sentence a line.

    Args:
        words: about how many there are; a name of two words counts for one.
        seed: decides the world and what is told of it.

    Raises:
        InvalidValue: fewer words than a sentence has.

    >>> text = "".join(tell(words=100))
    >>> text.count(chr(10)), len(text.split()) >= 100
    (10, True)
    """
    require(words >= LENGTH, f"a world of {words} words has no sentence; give {LENGTH} or more")
    chance = np.random.default_rng(seed)
    companions = np.array([chance.choice(len(POOL), COMPANIONS, replace=False) for _ in things()])
    left = words // LENGTH
    while left:
        count = min(left, SENTENCES_AT_ONCE)
        said = _sentences(chance, companions, count)
        yield "\n".join(map(" ".join, np.array(lexicon(), dtype=object)[said].tolist())) + "\n"
        left -= count


def things() -> list[tuple[int, int]]:
    """Every thing as the number of its relation and its place in it."""
    return [(number, place) for number, relation in enumerate(RELATIONS) for place in range(len(relation.pairs))]


def lexicon() -> tuple[str, ...]:
    """All words: fillers, companions, the words of each form, and each thing in its two forms."""
    shaped = [word for relation in RELATIONS for words in (relation.first, relation.second) for word in words]
    forms = [form for relation in RELATIONS for pair in relation.pairs for form in pair]
    return (*FILLERS, *POOL, *shaped, *forms)


def _sentences(chance: np.random.Generator, companions: np.ndarray, count: int) -> np.ndarray:
    """Sentences as numbers of the lexicon, S × L: one thing in one form each, among words about it and fillers."""
    size = (count, LENGTH)
    thing, form = chance.integers(len(companions), size=(count, 1)), chance.integers(2, size=(count, 1))
    kind = np.array([number for number, _ in things()])[thing]
    zipf = 1 / np.arange(1, len(FILLERS) + 1)
    said = chance.choice(len(FILLERS), size=size, p=zipf / zipf.sum())
    told = len(FILLERS) + companions[thing, chance.integers(COMPANIONS, size=size)]
    each = len(RELATIONS[0].first)
    shaped = len(FILLERS) + len(POOL) + (2 * kind + form) * each + chance.integers(each, size=size)
    part = chance.random(size)
    said = np.where(part < TOLD, told, np.where(part < TOLD + SHAPED, shaped, said))
    forms = len(lexicon()) - 2 * len(companions)
    said[np.arange(count), chance.integers(LENGTH, size=count)] = (forms + 2 * thing + form)[:, 0]
    return said


def questions() -> list[Question]:
    """Every question of two pairs of one relation, in both directions; a name's words are joined by `_`.

    >>> questions()[0]
    Question(relation='capitals', first='france', second='paris', third='italy', answer='rome')
    """
    asked = []
    for relation in RELATIONS:
        pairs = [(one.replace(" ", "_"), other.replace(" ", "_")) for one, other in relation.pairs]
        for pair in pairs:
            for other in pairs:
                if pair != other:
                    asked.append(Question(relation.name, *pair, *other))
                    asked.append(Question(relation.name, *pair[::-1], *other[::-1]))
    return asked
