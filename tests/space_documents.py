"""Made documents of a space, with what is expected of them computed here in another way than the page does."""

import itertools

import numpy as np

DEPTHS = ("EB0", "EB1", "DB0", "DB1")
HEADS = ("H0Out", "H1", "H1Out", "H2", "H2Out")
UNITS = {"epe": "px", "parameters": "", "macs": "MAC", "int8_weight_kib": "KiB", "sram_kib": "KiB", "cpu_ms": "ms"}


def dominated(values):
    """Whether some row of [A, K] is nowhere larger and somewhere smaller: every row that is left removes others.

    What a removed row dominates its remover dominates too, so that nobody is spared.
    """
    found = np.isnan(values).any(axis=1)
    for row in range(len(values)):
        if not found[row]:
            found |= (values[row] <= values).all(axis=1) & (values[row] < values).any(axis=1)
    return found


def digits_of(blocks=9):
    return np.array(list(itertools.product(range(3), repeat=blocks)))


def columns(digits, seed=1):
    """Numbers of the size of the real ones: costs are sums over blocks, the EPE falls with them, plus noise."""
    random, blocks = np.random.default_rng(seed), digits.shape[1]
    weight = random.uniform(0.2, 1.0, (blocks, 3)).cumsum(axis=1)
    gain = random.uniform(0.0, 0.12, (blocks, 3)).cumsum(axis=1)
    rows = np.arange(blocks)
    load, worth = weight[rows, digits].sum(axis=1), gain[rows, digits].sum(axis=1)
    macs = np.round(1.2e9 + 2.1e8 * load)
    return {
        "epe": 9.2 - worth + random.normal(0.0, 0.03, len(digits)),
        "parameters": np.round(2.3e6 + 3e5 * digits[:, :4].sum(axis=1) + 2e4 * digits[:, 4:].sum(axis=1)),
        "macs": macs,
        "int8_weight_kib": np.round(2300.0 + 290.0 * digits[:, :4].sum(axis=1) + digits[:, 4:].sum(axis=1) / 8, 3),
        "sram_kib": 600.0 + 75.0 * digits[:, -2:].max(axis=1) + 37.5 * digits[:, 0],
        "cpu_ms": macs / 4e7 + random.normal(0.0, 0.6, len(digits)),
    }


def made_document(blocks=9, objectives=("epe", "macs"), **changes):
    """A document of 3**blocks subnets as commands/pareto.py makes it; ``changes`` replace keys."""
    digits = digits_of(blocks)
    values = columns(digits)
    names = (*DEPTHS, *HEADS)[:blocks]
    words = [
        {"name": n, "options": [f"depth {d}" if n in DEPTHS else f"kernel {2 * d + 1}" for d in (1, 2, 3)]}
        for n in names
    ]
    front = np.flatnonzero(~dominated(np.stack([values[name] for name in objectives], axis=1))).tolist()
    order = sorted(front, key=lambda row: values["epe"][row])
    document = {
        "title": "Space v1 of run demo",
        "space": "v1",
        "facts": {"run": "demo", "eval_set": "fc2/folder:val/640/1111", "size": "180x240", "commit": "0123abc"},
        "blocks": words,
        "columns": [{"name": name, "unit": UNITS[name], "minimise": True} for name in values],
        "codes": ["".join(map(str, row)) for row in digits],
        "values": {name: column.tolist() for name, column in values.items()},
        "objectives": list(objectives),
        "where": "",
        "front": front,
        "ties": [row for row in np.argsort(values["epe"])[:60].tolist() if row not in front],
        "shortlist": order[:: max(1, len(order) // 15)][:15],
        "knee": order[len(order) // 2],
        "baseline": len(digits) // 100,
        "hypervolume": {},
        "marginals": marginals(digits, values, words),
        "standard_error": np.full(len(digits), 0.021).tolist(),
    }
    return document | changes


def marginals(digits, values, words):
    def option(block, digit):
        rows = digits[:, block] == digit
        costs = {name: float(column[rows].mean()) for name, column in values.items() if name != "epe"}
        epe = float(values["epe"][rows].mean())
        return {"option": words[block]["options"][digit], "mean_epe": epe, "mean_cost": costs, "count": int(rows.sum())}

    names = [word["name"] for word in words]
    pairs = itertools.islice(itertools.combinations(names, 2), 5)
    return {
        "blocks": [{"name": n, "options": [option(b, d) for d in range(3)]} for b, n in enumerate(names)],
        "interactions": [{"blocks": list(pair), "share": 0.01 / (k + 1)} for k, pair in enumerate(pairs)],
        "shares": {name: 0.5 / (k + 1) for k, name in enumerate(names)},
    }
