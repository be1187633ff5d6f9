"""What the index lists of FlyingChairs2 hold, what they leave out, and what of it is on disk."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

from edgeflownas.data.fc2_index import SPLITS, Disk, IndexLists

__all__ = ["index_lines", "index_problems", "index_report"]

_SHOWN = 20  # entries of a list in the report; the counts are of all


def index_report(lists: IndexLists, root: Path | None = None) -> dict[str, Any]:
    """Counts, duplicates, overlaps, lines in no split, refused entries and (with ``root``) the files there, as JSON."""
    disk = None if root is None else Disk(root, lists)
    refused: list[dict[str, Any]] = []
    here: list[bool] = []
    for index in range(len(lists.entries)):
        try:
            complete = not disk.sample(index)[1] if disk else bool(lists.stem(index))
        except ValueError as error:
            complete = False
            refused.append({"line": index + 1, "entry": lists.entries[index], "problem": str(error)})
        here.append(complete)
    total, train = len(lists.entries), len(set(lists.splits["train"]) - set(lists.out_of_range("train")))
    unused = lists.unused()
    return {
        "directory": str(lists.folder),
        "prefix": lists.prefix,
        "lines": total,
        "splits": {split: _split(lists, split, here if disk else None) for split in SPLITS},
        "overlaps": {f"{a}/{b}": _some(lists.overlap(a, b)) for a, b in combinations(SPLITS, 2)},
        "duplicate_entries": _some(lists.same_entries()),
        "in_no_split": {"count": len(unused), "first": [_named(lists, index) for index in unused[:_SHOWN]]},
        "not_in_train": {"count": total - train, "arithmetic": f"{total - train:,} = {total:,} - {train:,}"},
        "refused": {"count": len(refused), "first": refused[:_SHOWN]},
        "on_disk": None
        if disk is None
        else {"root": str(root), "complete": sum(here), "incomplete": total - sum(here) - len(refused)},
    }


def index_problems(report: dict[str, Any]) -> list[str]:
    """What makes the lists unusable, in words; lines in no split and an empty list are facts, not faults."""
    problems = []
    for split, facts in report["splits"].items():
        for what in ("duplicates", "out_of_range"):
            if facts[what]["count"]:
                problems.append(f"{split}: {facts[what]['count']} indices {what.replace('_', ' ')}")
        if facts.get("incomplete"):
            problems.append(f"{split}: {facts['incomplete']} samples are not complete on disk")
    problems += [
        f"{pair} share {shared['count']} indices" for pair, shared in report["overlaps"].items() if shared["count"]
    ]
    for what, words in (("duplicate_entries", "entries are there twice"), ("refused", "entries are refused")):
        if report[what]["count"]:
            problems.append(f"{report[what]['count']} {words}")
    return problems


def index_lines(report: dict[str, Any]) -> list[str]:
    """The report in words."""
    counts = " / ".join(f"{report['splits'][split]['count']:,}" for split in SPLITS)
    lines = [
        f"{report['directory']}: {report['lines']:,} lines; {' / '.join(SPLITS)}: {counts}",
        f"  prefix cut off: {report['prefix'] or '(none)'}",
    ]
    for split, facts in report["splits"].items():
        for what in ("duplicates", "out_of_range"):
            lines.append(f"  {split}: {facts[what]['count']} {what.replace('_', ' ')}{_first(facts[what])}")
    lines += [f"  in both {pair}: {shared['count']}{_first(shared)}" for pair, shared in report["overlaps"].items()]
    lines.append(f"  entries that are there twice: {report['duplicate_entries']['count']}")
    unused = report["in_no_split"]
    shown = ", ".join(f"index {row['index']} ({row['sample']})" for row in unused["first"][:3])
    lines.append(f"  in no split: {unused['count']}{': ' + shown if shown else ''}")
    lines.append(f"  not in train: {report['not_in_train']['arithmetic']} (test and what is in no split together)")
    lines += [f"  refused: line {row['line']}: {row['entry']!r} {row['problem']}" for row in report["refused"]["first"]]
    disk = report["on_disk"]
    if disk is None:
        return [*lines, "  files on disk: not looked at (give --root)"]
    lines.append(f"  on disk below {disk['root']}: {disk['complete']:,} complete, {disk['incomplete']:,} not")
    for split, facts in report["splits"].items():
        lines.append(f"    {split}: {facts['complete']:,} of {facts['count']:,}")
    return lines


def _split(lists: IndexLists, split: str, here: list[bool] | None) -> dict[str, Any]:
    indices = lists.splits[split]
    facts: dict[str, Any] = {
        "count": len(indices),
        "duplicates": _some(lists.duplicates(split)),
        "out_of_range": _some(lists.out_of_range(split)),
    }
    if here is not None:
        facts["complete"] = sum(here[index] for index in indices if 0 <= index < len(here))
        facts["incomplete"] = len(indices) - facts["complete"]
    return facts


def _some(items: list[Any]) -> dict[str, Any]:
    return {"count": len(items), "first": items[:_SHOWN]}


def _first(items: dict[str, Any]) -> str:
    return f", first {items['first'][0]}" if items["count"] else ""


def _named(lists: IndexLists, index: int) -> dict[str, Any]:
    try:
        sample = lists.stem(index)
    except ValueError:
        sample = lists.entries[index]
    return {"index": index, "sample": sample}
