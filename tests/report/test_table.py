"""One table in all its forms, and the ranked pool."""

import io
import re
from pathlib import Path

from rich.console import Console as RichConsole

from edgeflownas.report.console import WIDTH
from edgeflownas.report.table import Column, Table, columns, counted, scaled, text_of
from edgeflownas.report.views import pool_table
from edgeflownas.space import Choice, SearchSpace, get_space

SPACE = get_space("v1")
POOL = SPACE.pool(12)
EPES = [9.3522, 8.3784, 8.4533, 8.6201, 8.6722, 8.6998, 8.7239, 8.7407, 8.7923, 8.8235, 9.0827, 9.2610]
ROWS = [(arch, index, epe) for index, (arch, epe) in enumerate(zip(POOL, EPES, strict=True))]
RANKS = [12, 1, 1, 3, 3, 3, 7, 7, 7, 10, 11, 11]


def small(**more):
    heading = [
        Column("name", left=True),
        *columns("GMAC:.2f/1e9=macs"),
        Column("tau", lambda tau: f"{tau['value']:.1f} +- {tau['margin']:.1f}"),
        Column("empty", missing=""),
    ]
    rows = [
        {"name": "a\x1b", "macs": 1_500_000_000, "tau": {"value": 0.5, "margin": 0.25}},
        {"name": "longer", "tau": None},
    ]
    return Table.of(heading, rows, **more)


def test_aligned_text():
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
    assert Table(columns("a | b:.1%=c"), [[1, 0.125]], rule=False).text() == "a     b\n1  12.5"
    assert untitled.text() == "1  2.5" and text_of(["head", untitled, small(printed=False)]) == "head\n1  2.5"


def test_raw_values_for_programs():
    assert small().csv() == b"name,macs,tau,tau_margin,empty\na\x1b,1500000000,0.5,0.25,\nlonger,,,,\n"
    assert small().json()[1] == {"name": "longer", "macs": None, "tau": None, "tau_margin": None, "empty": None}
    twice = Table([Column("code"), Column("code")], [[1, 2]])
    assert twice.csv() == b"code,code\n1,2\n" and Table([Column("x", name="y")], []).csv() == b"y\n"


WIDE = SearchSpace(
    "wide",
    (
        *(Choice(f"block{i}", "depth", (1, 2)) for i in range(9)),
        *(Choice(f"head{i}", "kernel", (3, 5)) for i in range(19)),
    ),
)
KERNELS = SearchSpace("k", (Choice("H1", "kernel", (3, 5)),))
FIXED = SPACE.restrict(POOL[6])
V3 = get_space("v3")
POOLS = {
    "without noise": pool_table(ROWS[::-1], SPACE, 10.9),
    "with noise": pool_table(ROWS[::-1], SPACE, 10.9, RANKS, [0.25 + 0.01 * index for _, index, _ in ROWS]),
    "without zero flow": pool_table(ROWS, SPACE, None, list(range(1, 13))),
    "one, zero flow 0": pool_table(ROWS[:1], SPACE, 0.0),
    "large EPEs": pool_table([(arch, index, 100.0 + epe) for arch, index, epe in ROWS], SPACE, 10.9),
    "one diverged": pool_table([(POOL[0], 0, float("nan")), (POOL[2], 2, 5.0), (POOL[1], 1, 5.0)], SPACE, 10.9),
    "wide": pool_table([(WIDE.sample(seed), seed, 3.0 + seed) for seed in range(3)], WIDE, 4.0),
    "fixed choices": pool_table([(FIXED.arch([0] * 9), 0, 7.0)], FIXED, 10.0),
    "kernels only": pool_table([(KERNELS.parse("1"), 0, 7.0)], KERNELS, None),
    "convolutions": pool_table([(arch, index, 8.0 + index) for index, arch in enumerate(V3.pool(7))], V3, None),
}


def test_the_pool():
    """Everything stands in a plain line or moves below its row, as approved."""
    texts = [f"# {name}\n{table.text(WIDTH)}" for name, table in POOLS.items()]
    text = "\n\n".join([*texts, f"# narrow\n{POOLS['without noise'].text(80)}"]) + "\n"
    assert text == (Path(__file__).parent / "approved" / "pools.txt").read_text()
    assert text.isascii() and not re.search(" $", text, re.MULTILINE)
    assert max(map(len, text.split("\n"))) <= WIDTH and max(map(len, text.partition("# narrow")[2].split("\n"))) <= 80
    assert POOLS["with noise"].csv().splitlines()[1].startswith(b'1,1,"1,1,1,1,1,1,1,1,1",EB0 2')


def test_on_a_terminal():
    table, file = pool_table(ROWS, SPACE, 10.9), io.StringIO()
    RichConsole(width=table.width, file=file).print(table.rich())
    printed, plain = ([line.rstrip() for line in text.split("\n")] for text in (file.getvalue(), table.text()))
    assert printed[:13] == [plain[0], *plain[2:14]]  # all but the rule


def test_figures_with_units():
    found = [scaled(value, "B") for value in (0, 999, 1000, 1.5e9, 2e15)]
    assert found == ["0 B", "999 B", "1 kB", "1.5 GB", "2000 TB"]
    assert [counted(number, "unit") for number in (0, 1, 1200)] == ["0 units", "1 unit", "1,200 units"]
    assert counted(2, "batch") == "2 batches"
