"""One table in all its forms, and the ranked pool."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console as RichConsole

from edgeflownas.report.console import WIDTH
from edgeflownas.report.table import Column, Table, counted, scaled, text_of
from edgeflownas.report.views import pool_table
from edgeflownas.space import Choice, SearchSpace, get_space

SPACE = get_space("v1")
POOL = SPACE.pool(12)
EPES = [9.3522, 8.3784, 8.4533, 8.6201, 8.6722, 8.6998, 8.7239, 8.7407, 8.7923, 8.8235, 9.0827, 9.2610]
ROWS = [(arch, index, epe) for index, (arch, epe) in enumerate(zip(POOL, EPES, strict=True))]
RANKS = [12, 1, 1, 3, 3, 3, 7, 7, 7, 10, 11, 11]


def small(**more: Any) -> Table:
    columns = [
        Column("name", left=True),
        Column("GMAC", ".2f", "macs", scale=1e9),
        Column("tau", lambda tau: f"{tau['value']:.1f} +- {tau['margin']:.1f}"),
        Column("empty", missing=""),
    ]
    rows = [
        {"name": "a\x1b", "macs": 1_500_000_000, "tau": {"value": 0.5, "margin": 0.25}},
        {"name": "longer", "tau": None},
    ]
    return Table.of(columns, rows, **more)


def test_aligned_text() -> None:
    assert small(notes=["a note"]).text().split("\n") == [
        "name    GMAC         tau  empty",
        "------  ----  ----------  -----",
        "a\\x1b   1.50  0.5 +- 0.2",
        "longer     -           -",
        "a note",
    ]
    lines = small(rule=False, indent="  ", apart=[1]).lean().text().split("\n")
    assert lines[0] == "  name    GMAC         tau" and set(lines[2]) == {" ", "-"} and len(lines) == 4
    untitled = Table([Column(""), Column("")], [[1, 2.5]], rule=False)
    assert untitled.text() == "1  2.5" and text_of(["head", untitled, small(printed=False)]) == "head\n1  2.5"


def test_raw_values_for_programs() -> None:
    assert small().csv() == b"name,macs,tau,tau_margin,empty\na\x1b,1500000000,0.5,0.25,\nlonger,,,,\n"
    assert small().json()[1] == {"name": "longer", "macs": None, "tau": None, "tau_margin": None, "empty": None}
    twice = Table([Column("code"), Column("code")], [[1, 2]])
    assert twice.csv() == b"code,code\n1,2\n" and Table([Column("x", name="y")], []).csv() == b"y\n"


def test_the_pool_with_noise_and_without() -> None:
    lines = pool_table(ROWS[::-1], SPACE, 10.9).text().split("\n")
    assert max(map(len, lines)) <= WIDTH and all(line == line.rstrip() and line.isascii() for line in lines)
    assert " ".join(lines[0].split()) == "rank index code depths kernels EPE px diff px diff %"
    assert " ".join(lines[2].split()) == (
        "1 1 1,1,1,1,1,1,1,1,1 EB0 2 EB1 2 DB0 2 DB1 2 H0Out 5 H1 5 H1Out 5 H2 5 H2Out 5 8.3784 -2.522 -23.1"
    )
    assert lines[13].startswith("  12      0  0,0,0,0,0,0,0,0,0 ")
    assert [line for line in lines if "0,0,0,0,2,1,2,2,2 *" in line] and "* bilinear baseline" in lines
    assert lines[-1] == "diff: to zero flow, whose EPE is 10.9000 px"
    tied = pool_table(ROWS[::-1], SPACE, 10.9, RANKS, [0.25 + 0.01 * index for _, index, _ in ROWS])
    lines = tied.text().split("\n")
    assert max(map(len, lines)) <= WIDTH and " ".join(lines[0].split()) == (
        "rank index code depths kernels EPE px +- diff %"
    )
    assert [line.split()[:2] for line in lines[2:14]] == [
        *(["=1", "1"], ["=1", "2"], ["=3", "3"], ["=3", "4"], ["=3", "5"], ["=7", "6"], ["=7", "7"], ["=7", "8"]),
        *(["10", "9"], ["=11", "10"], ["=11", "11"], ["12", "0"]),
    ]
    assert lines[2].split()[-3:] == ["8.3784", "0.2600", "-23.1"]  # the margin of arch 1
    assert tied.csv().splitlines()[1].startswith(b'1,1,"1,1,1,1,1,1,1,1,1",EB0 2')


def test_the_pool_of_nothing_special() -> None:
    alone = pool_table(ROWS, SPACE, None, list(range(1, 13))).text()
    assert "+-" not in alone and "=" not in alone and "diff" not in alone
    assert pool_table(ROWS[:1], SPACE, 0.0).text().split("\n")[2].endswith("+9.352       -")
    large = [(arch, index, 100.0 + epe) for arch, index, epe in ROWS]
    assert max(map(len, pool_table(large, SPACE, 10.9).text().split("\n"))) <= WIDTH
    rows = [(POOL[0], 0, float("nan")), (POOL[2], 2, 5.0), (POOL[1], 1, 5.0)]
    lines = pool_table(rows, SPACE, 10.9).text().split("\n")[2:5]
    assert [line.split()[1] for line in lines] == ["1", "2", "0"] and "nan" in lines[2]


def test_words_move_below_where_there_is_no_room() -> None:
    choices = [Choice(f"block{i}", "depth", (1, 2)) for i in range(9)]
    choices += [Choice(f"head{i}", "kernel", (3, 5)) for i in range(19)]
    space = SearchSpace("wide", tuple(choices))
    text = pool_table([(space.sample(seed), seed, 3.0 + seed) for seed in range(3)], space, 4.0).text(WIDTH)
    assert max(map(len, text.split("\n"))) <= WIDTH
    assert all(text.count(f"{choice.name} ") == 3 for choice in choices)
    narrow = pool_table(ROWS, SPACE, 10.9).text(80).split("\n")
    assert max(map(len, narrow)) <= 80
    assert narrow[2:5] == [
        "   1      1  1,1,1,1,1,1,1,1,1    8.3784   -2.522   -23.1",
        "             EB0 2 EB1 2 DB0 2 DB1 2",
        "             H0Out 5 H1 5 H1Out 5 H2 5 H2Out 5",
    ]


def test_spaces_of_other_choices() -> None:
    fixed = SPACE.restrict(POOL[6])
    assert "H1 5" in pool_table([(fixed.arch([0] * 9), 0, 7.0)], fixed, 10.0).text()
    kernels = SearchSpace("k", (Choice("H1", "kernel", (3, 5)),))
    assert "depths" not in pool_table([(kernels.parse("1"), 0, 7.0)], kernels, None).text()
    space = get_space("v3")
    lines = pool_table([(arch, index, 8.0 + index) for index, arch in enumerate(space.pool(7))], space, None).text()
    assert " ".join(lines.split("\n")[0].split()) == "rank index code depths kernels convolutions EPE px"
    assert "E1 3x3+dilated3x3" in lines and "2,1,0,0,0,0,1,1,1,1,1 *" in lines


def test_on_a_terminal() -> None:
    table, file = pool_table(ROWS, SPACE, 10.9), io.StringIO()
    RichConsole(width=table.width, file=file).print(table.rich())
    printed, plain = ([line.rstrip() for line in text.split("\n")] for text in (file.getvalue(), table.text()))
    assert printed[:13] == [plain[0], *plain[2:14]]  # all but the rule


def test_figures_with_units() -> None:
    found = [scaled(value, "B") for value in (0, 999, 1000, 1.5e9, 2e15)]
    assert found == ["0 B", "999 B", "1 kB", "1.5 GB", "2000 TB"]
    assert [counted(number, "unit") for number in (0, 1, 1200)] == ["0 units", "1 unit", "1,200 units"]
    assert counted(2, "batch") == "2 batches"
