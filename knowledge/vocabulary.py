"""What people call operations, costs and shapes: the words that questions are read by.

Everything here is plain data. Operations of a space are known by their own names and aliases too, so a
space of one's own needs no entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from vitruvius.generator.space import SearchSpace

CALLED: Mapping[str, str] = MappingProxyType(
    {
        "skip": "skip, skip connection, skip connect, identity, identity connection, residual, "
        "residual connection, shortcut, shortcut connection, bypass",
        "none": "none, zero, zeroize, zeroise, missing edge, no connection, null operation",
        "conv1x1": "conv1x1, 1x1 conv, 1x1 convolution, pointwise conv, pointwise convolution, 1x1",
        "conv3x3": "conv3x3, 3x3 conv, 3x3 convolution, 3x3",
        "avgpool3x3": "avgpool3x3, average pooling, average pool, avg pool, avg pooling, mean pooling, "
        "3x3 average pooling, 3x3 average pool, 3x3 avg pool, 3x3 avg pooling, 3x3 pooling, 3x3 pool",
        "maxpool3x3": "maxpool3x3, max pooling, max pool, 3x3 max pooling, 3x3 max pool",
        "sepconv3x3": "sepconv3x3, 3x3 sep conv, 3x3 separable conv, 3x3 separable convolution",
        "sepconv5x5": "sepconv5x5, 5x5 sep conv, 5x5 separable conv, 5x5 separable convolution",
        "dilconv3x3": "dilconv3x3, 3x3 dil conv, 3x3 dilated conv, 3x3 dilated convolution",
        "dilconv5x5": "dilconv5x5, 5x5 dil conv, 5x5 dilated conv, 5x5 dilated convolution",
        "gat": "gat, graph attention, attention, graph attention layer",
        "gcn": "gcn, graph convolution, graph conv",
        "gin": "gin, graph isomorphism, isomorphism",
        "cheb": "cheb, chebnet, chebyshev, chebyshev convolution",
        "sage": "sage, graphsage, graph sage",
        "arma": "arma, arma convolution",
        "graph": "k gnn, kgnn",
        "fc": "fc, fully connected, fully connected layer, linear, linear layer, dense layer, mlp",
    }
)
"""Operation -> what people call it; singular, without hyphens."""

FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pool, pooling": ("avgpool3x3", "maxpool3x3"),
        "conv, convolution, convolutional": (
            "conv1x1", "conv3x3", "sepconv3x3", "sepconv5x5", "dilconv3x3", "dilconv5x5",
        ),
        "separable, separable conv, separable convolution, sep conv": ("sepconv3x3", "sepconv5x5"),
        "dilated, dilated conv, dilated convolution, dil conv": ("dilconv3x3", "dilconv5x5"),
        "5x5 conv, 5x5 convolution": ("sepconv5x5", "dilconv5x5"),
    }
)  # fmt: skip
"""What people call several operations together -> the operations; those that a space has are meant."""

COSTS: Mapping[str, str] = MappingProxyType(
    {
        "params": "params, param, parameter, weight",
        "flops": "flops, flop, mac, macs, multiply add, multiply accumulate",
        "latency": "latency",
    }
)
"""Cost -> what people call it."""

UNITS: Mapping[str, tuple[str | None, float]] = MappingProxyType(
    {
        "": (None, 1e-6), "k": (None, 1e-3), "thousand": (None, 1e-3), "m": (None, 1.0),
        "million": (None, 1.0), "g": (None, 1e3), "b": (None, 1e3), "billion": (None, 1e3),
        "kflops": ("flops", 1e-3),
        "mflops": ("flops", 1.0), "gflops": ("flops", 1e3), "us": ("latency", 1e-3), "ms": ("latency", 1.0),
        "millisecond": ("latency", 1.0), "s": ("latency", 1e3),
    }
)  # fmt: skip
"""Unit -> the cost that it tells, None for any, and what one is in millions or milliseconds."""

COMPARISONS: Mapping[str, str] = MappingProxyType(
    {
        ">=": "at least, no less than, no fewer than, not less than, not fewer than, >=",
        ">": "more than, greater than, larger than, over, above, >",
        "<=": "at most, up to, no more than, not more than, <=",
        "<": "less than, fewer than, smaller than, under, below, <",
        "==": "exactly, precisely, only, ==, =",
    }
)
"""Comparison -> what people call it."""

NUMBERS: Mapping[str, int] = MappingProxyType(
    {"no": 0, "zero": 0, "one": 1, "a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
)
"""Small numbers in words."""

ORDINALS: Mapping[str, int] = MappingProxyType({"second": 2, "third": 3, "fourth": 4, "fifth": 5})
"""Which one more is asked about: "a second skip"."""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


RAISES = _set(
    "help improve better good best useful beneficial benefit work pay raise increase higher boost gain win "
    "outperform beat surpass exceed superior preferable prefer worthwhile"
)
"""Verbs and adjectives of "does it help?"; singular, as `tokens` gives them."""
LOWERS = _set(
    "hurt harm bad worse worst worsen lower reduce decrease damage avoid drop degrade detrimental poor "
    "deteriorate impair hinder hamper underperform inferior lose suffer"
)
"""Those of "does it hurt?"."""
MATTERS = _set("matter affect effect impact influence")
"""Those of "does it do anything?"."""
SIZING = _set(
    "raise increase higher boost gain reduce decrease lower drop smaller larger small large low high"
)
"""Those of both that say in which direction something moves, not whether that is good."""
LOSSES = _set("loss losse error perplexity mse rmse mae regret mistake")
"""What is better when it is smaller, whatever the task measures; singular, as `tokens` gives them."""
CONDITION = _set("where when if given among for in with without within while having whose that")
"""Words that may begin a condition."""
RIVAL = _set("than versu vs instead rather over against compared")
"""Words before what something is compared with; singular, as `tokens` gives them."""
CHOOSING = _set("which should prefer choose better worse")
"""Words that make "A or B" a choice between the two."""
BEATING = _set("outperform beat surpass exceed underperform")
"""Verbs before what something is compared with; those of `SUPERIOR` where "to" or "over" follows."""
SUPERIOR = _set("superior inferior preferable prefer lose")
SPLITTING = _set("than versu vs instead rather outperform beat surpass exceed underperform to")
"""Those of them that say nothing unless something follows."""
COMPARING = _set("compare comparing comparison difference differ versu vs")
"""Words that set side by side what is named."""
SWAPPING = _set("replace replacing replaced swap swapping swapped substitute substituting")
"""Words that put what is named second in the place of the first."""
MANY = _set("more many high higher large larger big bigger huge")
FEW = _set("fewer few less low lower small smaller tiny compact little")
"""Words for much and little of a cost."""
SIZES = _set("large larger big bigger huge small smaller tiny compact")
"""Those of them that speak of the whole architecture where they stand alone."""
DENYING = _set(
    "no without avoid avoiding remove removing drop dropping lack lacking omit omitting neither nor"
)
"""Words that deny what follows."""
HAVING = _set("have having use using contain containing with any")
"""Words that make "not" deny what follows."""
TURNING = _set(
    "not xor only alone never unless except but first last second third fourth fifth position followed feed "
    "feeding before after increasing decreasing reducing every everywhere always all each entire entirely "
    "solely throughout whole fail failing useless too enough necessary needed interact interaction redundant "
    "synergy complementary depend ten hundred dozen thousand million half less"
)
"""Words that may turn a question round, or make another of it, where no phrase took them up."""
ABOUT_COSTS = _set(
    "cost expensive cheap dear latency slow slower fast faster speed parameter params flops memory energy"
)
"""Words on what an architecture costs."""
SILENT = _set(
    "do does did is are wa were be been being the of to it there this these those which what how why can "
    "could should would will i you we my our your me us whether really usually generally general also then "
    "than architecture network net model cell operation op layer connection node use used using have ha "
    "score accuracy performance result about tell number count by from as on at and "
    "or a an any some more most much many so far know known neural one data dataset set "
    "task benchmark overall average both either directly present being adding add "
    "good as between together idea lead give make say think suggest rate validation test training winner"
)
"""Words that say nothing about an architecture."""


def called(operations: Iterable[str]) -> list[str]:
    """What people call these operations, the first two names of each that are not its own."""
    return [
        name
        for operation in sorted(operations)
        for name in [n for n in CALLED.get(operation, "").split(", ") if n and n != operation][:2]
    ]


def words_of(names: str) -> list[tuple[str, ...]]:
    """The names of an entry, each as its words."""
    return [tuple(name.split()) for name in names.split(", ")]


def tokens(text: str) -> list[str]:
    """A text as words, numbers and comparisons: lower case, singular, hyphens as blanks."""
    return [singular(word) for word in written(text)]


def written(text: str) -> list[str]:
    """The words of `tokens` as they were written, but for case.

    Names such as `nor_conv_3x3` stay whole; `3 x 3` becomes `3x3`, `1,000` becomes `1000`.
    """
    plain = re.sub(r"(?<=\d)\s*[x\u00d7*]\s*(?=\d)", "x", text.lower())
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    plain = re.sub(r"(?<=\d)\+", " or more", plain)
    plain = re.sub(r"\bcan(?:no|['\u2019])t\b", "can not", plain)
    plain = _ASKED.sub(r"\1", plain)
    plain = re.sub(r"n['\u2019]t\b", " not", plain)
    return re.findall(r"\d+x\d+|\d+(?:\.\d+)?[a-z]*|[^\W\d]\w*|<=|>=|==|!=|[<>=]", plain)


_ASKED = re.compile(
    r"^(\W*(?:is|are|was|were|do|does|did|would|should|could|has|have))n['\u2019]t\b"
    r"(?! (?:use|using|have|take)\b)"
)
"""A question that begins with "isn't" or "don't" asks the same as one without the not."""
_WHOLE = frozenset({"does", "this", "flops", "params", "macs", "kflops", "mflops", "gflops"})


def singular(word: str) -> str:
    """A word without the s of its plural; `s` is what it is in names and units."""
    if len(word) < 4 or word in _WHOLE or not word.isalpha() or word.endswith("ss"):
        return word
    return f"{word[:-3]}y" if word.endswith("ies") else word.removesuffix("s")


def tending(word: str) -> int | None:
    """Whether a verb or adjective, in any of its forms, asks for help (1), harm (-1) or either (0)."""
    stems = [
        word,
        *(word.removesuffix(end) for end in ("ing", "ed", "d", "ful", "fully") if word.endswith(end)),
    ]
    for stem in [*stems, *(f"{stem}e" for stem in stems[1:])]:
        for direction, words in ((1, RAISES), (-1, LOWERS), (0, MATTERS)):
            if stem in words:
                return direction
    return None


def vocabulary(space: SearchSpace) -> dict[tuple[str, ...], tuple[str, ...]]:
    """What operations of a space are called: words -> the operations that are meant.

    Names and aliases of the space itself win over what others call an operation.
    """
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for names, members in FAMILIES.items():
        meant = tuple(name for name in members if name in space.operations)
        if meant:
            found |= {words: meant for words in words_of(names)}
    for operation, names in CALLED.items():
        if operation in space.operations:
            found |= {words: (operation,) for words in words_of(names)}
    for name in (*space.operations, *space.aliases):
        meant = (space.operation(name),)
        found[tuple(tokens(name))] = meant
        found[tuple(tokens(re.sub(r"[_-]", " ", name)))] = meant
    return found
