"""The ranked table."""

import io

from rich.console import Console as RichConsole

from edgeflownas.report.pool_table import WIDTH, PoolTable
from edgeflownas.space import Choice, SearchSpace, get_space

SPACE = get_space("v1")
POOL = SPACE.pool(12)
EPES = [9.3522, 8.3784, 8.4533, 8.6201, 8.6722, 8.6998, 8.7239, 8.7407, 8.7923, 8.8235, 9.0827, 9.2610]
ROWS = [(arch, index, epe) for index, (arch, epe) in enumerate(zip(POOL, EPES, strict=True))]


def test_plain_table_of_the_pool():
    lines = PoolTable(ROWS[::-1], SPACE, 10.9).plain().split("\n")
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(lines[0].split()) == "rank index code depths kernels EPE px diff px diff %"
    assert " ".join(lines[2].split()) == (
        "1 1 1,1,1,1,1,1,1,1,1 EB0 2 EB1 2 DB0 2 DB1 2 H0Out 5 H1 5 H1Out 5 H2 5 H2Out 5 8.3784 -2.522 -23.1"
    )
    assert lines[13].startswith("  12      0  0,0,0,0,0,0,0,0,0 ")
    assert [line for line in lines if "0,0,0,0,2,1,2,2,2 *" in line] and "* bilinear baseline" in lines
    assert lines[-1] == "diff: to zero flow, whose EPE is 10.9000 px"
    assert all(line == line.rstrip() and line.isascii() for line in lines)


def test_noise_and_shared_ranks():
    ranks = [12, 1, 1, 3, 3, 3, 7, 7, 7, 10, 11, 11]
    lines = PoolTable(ROWS[::-1], SPACE, 10.9, ranks, [0.25 + 0.01 * index for _, index, _ in ROWS]).plain().split("\n")
    assert max(map(len, lines)) <= WIDTH and all(line.isascii() for line in lines)
    assert " ".join(lines[0].split()) == "rank index code depths kernels EPE px +- diff %"
    assert [line.split()[:2] for line in lines[2:14]] == [
        *(["=1", "1"], ["=1", "2"], ["=3", "3"], ["=3", "4"], ["=3", "5"], ["=7", "6"], ["=7", "7"], ["=7", "8"]),
        *(["10", "9"], ["=11", "10"], ["=11", "11"], ["12", "0"]),
    ]
    assert lines[2].split()[-3:] == ["8.3784", "0.2600", "-23.1"]  # the margin of arch 1
    assert [line[:2] for line in lines[-4:]] == ["* ", "+-", "=:", "di"]
    alone = PoolTable(ROWS, SPACE, None, list(range(1, 13)), []).plain()
    assert "+-" not in alone and "=" not in alone


def test_large_figures_still_fit():
    rows = [(arch, index, 100.0 + epe) for arch, index, epe in ROWS]
    assert max(map(len, PoolTable(rows, SPACE, 10.9).plain().split("\n"))) <= WIDTH


def test_without_zero_flow_and_with_a_still_scene():
    assert "diff" not in PoolTable(ROWS, SPACE, None).plain()
    assert PoolTable(ROWS[:1], SPACE, 0.0).plain().split("\n")[2].endswith("+9.352       -")


def test_nan_ranks_last_and_ties_by_index():
    rows = [(POOL[0], 0, float("nan")), (POOL[2], 2, 5.0), (POOL[1], 1, 5.0)]
    lines = PoolTable(rows, SPACE, 10.9).plain().split("\n")[2:5]
    assert [line.split()[1] for line in lines] == ["1", "2", "0"] and "nan" in lines[2]


def test_words_move_below_where_there_is_no_room():
    choices = [Choice(f"block{i}", "depth", (1, 2)) for i in range(9)]
    choices += [Choice(f"head{i}", "kernel", (3, 5)) for i in range(19)]
    space = SearchSpace("wide", tuple(choices))
    text = PoolTable([(space.sample(seed), seed, 3.0 + seed) for seed in range(3)], space, 4.0).plain()
    assert max(map(len, text.split("\n"))) <= WIDTH
    for choice in choices:
        assert text.count(f"{choice.name} ") == 3
    narrow = PoolTable(ROWS, SPACE, 10.9).plain(80).split("\n")
    assert max(map(len, narrow)) <= 80
    assert narrow[2:5] == [
        "   1      1  1,1,1,1,1,1,1,1,1    8.3784   -2.522   -23.1",
        "             EB0 2 EB1 2 DB0 2 DB1 2",
        "             H0Out 5 H1 5 H1Out 5 H2 5 H2Out 5",
    ]


def test_a_fixed_space_and_a_space_of_one_kind():
    fixed = SPACE.restrict(POOL[6])
    assert "H1 5" in PoolTable([(fixed.arch([0] * 9), 0, 7.0)], fixed, 10.0).plain()
    kernels = SearchSpace("k", (Choice("H1", "kernel", (3, 5)),))
    assert "depths" not in PoolTable([(kernels.parse("1"), 0, 7.0)], kernels, None).plain()


def test_on_a_terminal():
    table, file = PoolTable(ROWS, SPACE, 10.9), io.StringIO()
    assert table.width <= WIDTH
    RichConsole(width=table.width, file=file).print(table.rich())
    printed, plain = ([line.rstrip() for line in text.split("\n")] for text in (file.getvalue(), table.plain()))
    assert printed[:13] == [plain[0], *plain[2:14]]  # all but the rule


def test_choices_of_convolutions_have_a_column_of_their_own():
    space = get_space("v3")
    rows = [(arch, index, 8.0 + index) for index, arch in enumerate(space.pool(7))]
    lines = PoolTable(rows, space, None).plain(400).split("\n")
    assert " ".join(lines[0].split()) == "rank index code depths kernels convolutions EPE px"
    assert "E1 3x3+dilated3x3" in lines[4] and "E0 7 H0Out 5" in lines[4] and "2,1,0,0,0,0,1,1,1,1,1 *" in lines[8]
