"""The declared spaces as data: codes, words, pools, and that a code means something in its own space only."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.errors import ConfigError
from edgeflownas.models.flownet import slot_options
from edgeflownas.space import Arch, Choice, SearchSpace, get_space, list_spaces

V1, V2, V3 = map(get_space, ("v1", "v2", "v3"))


def test_the_spaces() -> None:
    assert list_spaces() == ["v1", "v2", "v3", "v3_nobias"]
    assert (len(V1), len(V3)) == (3**9, 3**6 * 2**5) == (19_683, 23_328)
    names = ["E0", "E1", "EB0", "EB1", "DB0", "DB1", "H0Out", "H1", "H1Out", "H2", "H2Out"]
    assert [choice.name for choice in V3.choices] == names and V3.num_paths == 3
    assert [len(choice.options) for choice in V3.choices] == [3] * 6 + [2] * 5
    assert (V1.fixed, V3.fixed) == ((), ("ECA", "Gate"))
    with pytest.raises(ConfigError, match=r"did you mean 'v3'\? \(known: v1, v2, v3, v3_nobias\)"):
        get_space("v3b")


def test_v2_runs_heavy_to_light_and_both_open_their_pools_as_the_tf1_tool_does() -> None:
    assert V2.describe(V2.parse("21000000000")).startswith("E0 3x3, E1 3x3, EB0 depth 1") and V2.fixed == ()
    for space, reference in ((V2, "00000011111"), (V3, "21000011111")):
        sizes = [len(choice.options) for choice in space.choices]
        rules = [lambda i, n: 0, lambda i, n: min(1, n - 1), lambda i, n: n - 1]
        rules += [lambda i, n, k=k: (i + k) % n for k in range(3)]
        anchors = ["".join(str(rule(i, n)) for i, n in enumerate(sizes)) for rule in rules]
        assert [*space.anchors] == [*anchors, reference]


@pytest.mark.parametrize(
    "text",
    [
        *("0 0 0 0 2 1 2 2 2", "0,0,0,0,2,1,2,2,2", " 0, 0,0, 0,2,1,2,2,2 ", "[0, 0, 0, 0, 2, 1, 2, 2, 2]"),
        *("0\t0\t0\t0\t2\t1\t2\t2\t2", "000021222"),
    ],
)
def test_codes_as_people_write_them(text: str) -> None:
    assert V1.parse(text) == V1.parse("000021222")


def test_words_of_every_kind_of_choice() -> None:
    assert [V3.choices[1].words(digit) for digit in range(3)] == ["E1 3x3", "E1 5x5", "E1 3x3 + dilated 3x3"]
    assert (V3.choices[0].words(2), V3.choices[2].words(1), V3.choices[7].meaning(1)) == (
        "E0 7x7",
        "EB0 depth 2",
        "kernel 5",
    )
    assert V3.describe(V3.parse("02000000001")).startswith("E0 3x3, E1 3x3 + dilated 3x3, EB0 depth 1")


@pytest.mark.parametrize("name", list_spaces())
def test_the_pool_opens_with_the_anchors_and_covers_every_option(name: str) -> None:
    space = get_space(name)
    anchors = [space.parse(code) for code in space.anchors]
    assert space.pool(12, seed=3)[:7] == anchors and len(set(space.pool(12, seed=3))) == 12
    assert all(min(counts) >= 1 for counts in space.coverage(anchors).values())
    first, last = space.parse("0" * len(space.choices)), space.arch([len(c.options) - 1 for c in space.choices])
    assert first in anchors and last in anchors
    assert space.baseline is not None and space.parse(space.baseline) == anchors[6]


@pytest.mark.parametrize("space", [V2, V3], ids=["v2", "v3"])
def test_the_baseline_is_the_code_nearest_to_edgeflownet(space: SearchSpace) -> None:
    """Published: E0 7x7, E1 5x5, one residual block each, heads 7 5 7 7 7, of which these have at most 5."""
    published = ("7x7", "5x5", 1, 1, 1, 1, 7, 5, 7, 7, 7)
    arch = space.parse(space.baseline or "")
    for choice, digit, wanted in zip(space.choices, arch, published, strict=True):
        near = max(o for o in choice.options if o <= wanted) if choice.kind == "kernel" else wanted  # type: ignore[operator,type-var]
        assert choice.options[digit] == near, choice.name


@given(st.integers(0, 10**9), st.sampled_from(list_spaces()))
def test_codes_survive_text(seed: int, name: str) -> None:
    space = get_space(name)
    arch = space.sample(seed)
    assert space.parse(str(arch)) == space.parse(str(arch).replace(",", "")) == arch == copy.deepcopy(arch)
    assert all(choice.words(digit) in space.describe(arch) for choice, digit in zip(space.choices, arch, strict=True))


@pytest.mark.parametrize(("own", "other"), [(V1, V3), (V3, V1)])
def test_codes_of_another_space_are_refused(own: SearchSpace, other: SearchSpace) -> None:
    arch = other.sample(0)
    for refused in (arch, other.restrict(arch).arch([0] * len(arch))):
        with pytest.raises(ConfigError, match=f"belongs to space '{other.name}"):
            own.arch(refused)
        with pytest.raises(ConfigError, match="belongs to space"):
            own.parse(refused)
    for text in (str(arch), str(arch).replace(",", "")):
        with pytest.raises(
            ConfigError, match=f"{len(arch)} digits, space '{own.name}' needs .* of space .*{other.name}"
        ):
            own.parse(text)


@pytest.mark.parametrize("digit", [2, 3, -1])
def test_digits_beyond_the_options(digit: int) -> None:
    with pytest.raises(ConfigError, match=r"digit .* of H2Out must be 0 to 1 \(kernel 3, 5\)"):
        V3.arch([0] * 10 + [digit])
    with pytest.raises(ConfigError, match=r"E1 must be 0 to 2 \(conv 3x3, 5x5, 3x3\+dilated3x3\)"):
        V3.parse("03000000000")


def test_a_restricted_space_keeps_what_is_fixed() -> None:
    only = V3.restrict(V3.parse("12000000001"))
    assert len(only) == 1 and only.fixed == V3.fixed and str(next(iter(only))) == "1,2,0,0,0,0,0,0,0,0,1"
    assert only.choices[1] == Choice("E1", "conv", ("3x3+dilated3x3",))
    assert only.parse("12000000001") == Arch([0] * 11, only.name)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [(("SE",), "fixed parts SE must be among ECA, ECA_nobias, Gate"), (("Gate",), "context of ECA: name both")],
)
def test_fixed_parts_the_network_cannot_build(fixed: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        slot_options(SearchSpace("odd", (), fixed=fixed))
