"""Search spaces: one declaration from which codec, fair sampler, pool and model follow.

A :class:`SearchSpace` is data: an ordered tuple of :class:`Choice`.  Versions of a space are named entries of
``SPACES``, never file names.  An :class:`Arch` is a tuple of option digits that remembers its space, so that a
code of one space cannot be used in another.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeflownas.errors import ConfigError
from edgeflownas.randomness import words


class Arch(tuple[int, ...]):
    """One subnet's code: a digit (option position) for every choice of its space, in order."""

    space: str
    code: str | None

    def __new__(cls, digits: Sequence[int], space: str, code: str | None = None) -> Arch:
        """``space`` is the name of the space that gives the digits their meaning.

        ``code`` is what people know the arch by where its space was restricted to it: the digits in the whole space.
        """
        arch = super().__new__(cls, digits)
        arch.space, arch.code = space, code
        return arch

    def __str__(self) -> str:
        if self.code is not None:
            return self.code
        return ",".join(map(str, self)) if self else self.space  # a space without choices holds one arch: its name

    def __repr__(self) -> str:
        return f"Arch({self}, space={self.space!r})"

    def __getnewargs__(self) -> tuple[tuple[int, ...], str, str | None]:  # copying keeps space and code
        return tuple(self), self.space, self.code


@dataclass(frozen=True)
class Choice:
    """One choice block with its ``options`` in the order of their digits, which need not be that of their cost.

    They are depths (residual blocks), kernel sizes, or for kind ``conv`` chains of convolutions in words:
    ``3x3``, ``3x3+dilated3x3``.
    """

    name: str
    kind: Literal["depth", "kernel", "conv"]
    options: tuple[int | str, ...]

    def meaning(self, digit: int) -> str:
        """``depth 3``, ``kernel 5`` or ``3x3 + dilated 3x3``."""
        option = self.options[digit]
        if self.kind == "conv":
            return str(option).replace("+", " + ").replace("dilated", "dilated ")
        return f"{self.kind} {option}"

    def words(self, digit: int) -> str:
        """``EB0 depth 3``, ``H1 kernel 5`` or ``E1 3x3 + dilated 3x3``."""
        return f"{self.name} {self.meaning(digit)}"


@dataclass(frozen=True)
class SearchSpace:
    """An ordered set of independent choices.

    ``anchors`` are the codes that open every evaluation pool; ``baseline`` is the one closest to EdgeFlowNet.
    ``only`` is the code, in the whole space, of the one arch that a restricted space holds.
    ``fixed`` names parts that every arch of this space has and other spaces may lack (models/flownet.py knows them).
    """

    name: str
    choices: tuple[Choice, ...]
    anchors: tuple[str, ...] = ()
    baseline: str | None = None
    only: str | None = None
    fixed: tuple[str, ...] = ()

    def __len__(self) -> int:
        size = 1
        for choice in self.choices:
            size *= len(choice.options)
        return size

    def __iter__(self) -> Iterator[Arch]:
        """Every arch, the last choice running fastest."""
        for digits in itertools.product(*(range(len(choice.options)) for choice in self.choices)):
            yield Arch(digits, self.name, self.only)

    def declaration(self) -> dict[str, Any]:
        """What the space is, as it is read back from JSON: for manifests, and weights that travel without their run."""
        choices = [{**asdict(choice), "options": list(choice.options)} for choice in self.choices]
        fixed = {"fixed": list(self.fixed)} if self.fixed else {}
        return {"name": self.name, "size": len(self), "choices": choices, **fixed}

    @property
    def num_paths(self) -> int:
        """Paths of one fair cycle: the largest number of options of any choice."""
        return max((len(choice.options) for choice in self.choices), default=1)

    def position(self, choice_name: str) -> int | None:
        """Place of a choice in the code, or None where the space does not vary it."""
        return next((i for i, choice in enumerate(self.choices) if choice.name == choice_name), None)

    def arch(self, digits: Sequence[int]) -> Arch:
        """Check digits against the space.  Raises ConfigError naming the offending choice."""
        if isinstance(digits, Arch) and digits.space != self.name:
            raise ConfigError(
                f"arch code {digits} belongs to space {digits.space!r}, not to {self.name!r}: codes of one space mean "
                "something else in another; use the run's own space"
            )
        if len(digits) != len(self.choices):
            layout = " ".join(choice.name for choice in self.choices)
            others = [name for name, other in SPACES.items() if len(other.choices) == len(digits)]
            raise ConfigError(
                f"arch code {','.join(map(str, digits))!r} has {len(digits)} digits, space {self.name!r} needs "
                f"{len(self.choices)}: {layout}" + (f" (a code of space {' or '.join(others)}?)" if others else "")
            )
        for digit, choice in zip(digits, self.choices, strict=True):
            if not 0 <= digit < len(choice.options):
                raise ConfigError(
                    f"arch code {','.join(map(str, digits))!r}: digit {digit} of {choice.name} must be 0 to "
                    f"{len(choice.options) - 1} ({choice.kind} {', '.join(map(str, choice.options))})"
                )
        return Arch(digits, self.name, self.only)

    def parse(self, text: str | Arch) -> Arch:
        """Arch of ``0,0,0,0,2,1,2,2,2`` or ``000021222`` (an Arch of this space is itself).  Raises ConfigError."""
        if isinstance(text, Arch):
            return self.arch(text)
        if not self.choices and text == self.name:
            return Arch((), self.name)
        # "0,0,0", "000" and, as the TF1 tool writes it, "0 0 0"
        spaced = text.strip().strip("[]()").strip()
        parts = re.split(r"\s*[,;]\s*|\s+", spaced) if re.search(r"[,;\s]", spaced) else list(spaced)
        if not self.choices:
            raise ConfigError(f"arch code {text!r}: {self.name} is a single model without choices: leave it out")
        if not parts or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            raise ConfigError(
                f"arch code {text!r} is not a list of {len(self.choices)} digits such as "
                f"{','.join('0' * len(self.choices))} (commas optional)"
            )
        if self.only is not None:
            if ",".join(parts) != self.only:
                raise ConfigError(f"arch code {text!r} is not the one this network has: {self.only}")
            return self.arch([0] * len(self.choices))
        return self.arch([int(part) for part in parts])

    def sample(self, seed: int) -> Arch:
        """One uniform arch, a pure function of ``seed``."""
        drawn = words(seed, "space.sample", count=len(self.choices))
        return self.arch([int(w % len(c.options)) for w, c in zip(drawn, self.choices, strict=True)])

    def describe(self, arch: Arch) -> str:
        """The code in words, for tables: ``EB0 depth 1, ..., H2Out kernel 7``."""
        return ", ".join(choice.words(digit) for choice, digit in zip(self.choices, self.arch(arch), strict=True))

    def pool(self, size: int, seed: int = 0) -> list[Arch]:
        """Evaluation pool: the anchors, then seeded draws without repeats; ``arch_index`` is the position.

        Raises ConfigError when the space holds fewer than ``size`` archs.
        """
        if size > len(self):
            raise ConfigError(
                f"eval.eval_pool_size {size} is larger than space {self.name!r} ({len(self)} archs); lower it"
            )
        pool = [self.parse(code) for code in self.anchors][:size]
        seen = set(pool)
        for attempt in itertools.count():
            if len(pool) == size:
                return pool
            digits = words(seed, "space.pool", attempt, count=len(self.choices))
            arch = self.arch([int(w % len(c.options)) for w, c in zip(digits, self.choices, strict=True)])
            if arch not in seen:
                seen.add(arch)
                pool.append(arch)
        raise AssertionError("unreachable")

    def coverage(self, archs: Sequence[Arch]) -> dict[str, list[int]]:
        """How often each option of each choice occurs among ``archs``."""
        return {
            choice.name: [sum(arch[i] == digit for arch in archs) for digit in range(len(choice.options))]
            for i, choice in enumerate(self.choices)
        }

    def restrict(self, arch: Arch) -> SearchSpace:
        """The space that holds ``arch`` alone: every choice keeps one option, so parameter names stay equal."""
        checked = self.arch(arch)
        kept = tuple(Choice(c.name, c.kind, (c.options[d],)) for c, d in zip(self.choices, checked, strict=True))
        return SearchSpace(f"{self.name}[{checked}]", kept, only=str(checked), fixed=self.fixed)


def _heads(*kernels: int) -> tuple[Choice, ...]:
    return tuple(Choice(name, "kernel", kernels) for name in ("H0Out", "H1", "H1Out", "H2", "H2Out"))


_DEPTHS = tuple(Choice(name, "depth", (1, 2, 3)) for name in ("EB0", "EB1", "DB0", "DB1"))
_DILATED = "3x3+dilated3x3"
_STEM = Choice("E0", "conv", ("3x3", "5x5", "7x7")), Choice("E1", "conv", ("3x3", "5x5", _DILATED))
# As the TF1 tool's pools open: all first, all middle (of two: the second), all last, then (place + k) mod options.
_ANCHORS = ("00000000000", "11111111111", "22222211111", "01201201010", "12012010101", "20120101010")
_ALL = (
    SearchSpace(
        "v1",
        (*_DEPTHS, *_heads(3, 5, 7)),
        anchors=("000000000", "111111111", "222222222", "012012012", "210210210", "120120120", "000021222"),
        baseline="000021222",
    ),
    SearchSpace(  # v1 with the stem a choice, heavy to light, and heads of two kernels
        "v2",
        (
            Choice("E0", "conv", ("7x7", "5x5", "3x3")),
            Choice("E1", "conv", ("5x5", "3x3", _DILATED)),
            *(*_DEPTHS, *_heads(3, 5)),
        ),
        # EdgeFlowNet's stem (7x7, 5x5) and depths; of its heads (7 5 7 7 7) the nearest kernels.
        anchors=(*_ANCHORS, "00000011111"),
        baseline="00000011111",
    ),
    SearchSpace(  # what v3 was before: one batch norm for all of E0, attention of another size and without a bias
        "v3_nobias",
        (Choice("E0", "kernel", (3, 5, 7)), _STEM[1], *_DEPTHS, *_heads(3, 5)),
        anchors=(*_ANCHORS[:4], "21021010101", "12012000110", "21000011111"),
        baseline="21000011111",
        fixed=("ECA_nobias", "Gate"),
    ),
    SearchSpace(  # the stem light to heavy, channel attention (ECA) and a gate: docs/adr/0021
        "v3",
        (*_STEM, *_DEPTHS, *_heads(3, 5)),
        anchors=(*_ANCHORS, "21000011111"),
        baseline="21000011111",
        fixed=("ECA", "Gate"),
    ),
)
SPACES = {space.name: space for space in _ALL}


def list_spaces() -> list[str]:
    """Names of the declared spaces."""
    return sorted(SPACES)


def get_space(name: str) -> SearchSpace:
    """Space by name.  Raises ConfigError with the nearest name."""
    if name in SPACES:
        return SPACES[name]
    near = difflib.get_close_matches(name, SPACES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"unknown search space {name!r}{hint} (known: {', '.join(list_spaces())})")


def declared_space(declaration: Mapping[str, Any]) -> str:
    """Today's name of the space that a run's manifest declares: v3 had one batch norm for all kernels of E0."""
    first = (declaration.get("choices") or [{}])[0]
    renamed = declaration.get("name") == "v3" and first.get("kind") == "kernel"
    return "v3_nobias" if renamed else str(declaration.get("name"))
