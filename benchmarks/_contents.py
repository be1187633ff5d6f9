"""What two runs of one thing must have in common: files by their content, texts with what may differ masked.

Left out are times, places, identities of a run (its id, hashes that contain it), the version of the code and the format
number.  Everything else differs only where a result differs.
"""

from __future__ import annotations

import csv
import difflib
import io
import itertools
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _pages import read_page

MOST = 6  # differences shown of one file

# Columns and keys that hold a time, a place or an identity, by their last name.
TIMES = re.compile(
    r"(.*_)?seconds(_.*)?|time|.*_time|.*per_second|data_wait_share|share_(data_wait|step|eval|recal|checkpoint|monitor|other)|"
    r"laps|eta|left|age|modified|mtime"
)
IDENTITIES = {
    *("run_id", "token", "session", "pid", "host", "lock_owner", "commit", "dirty", "version", "config_hash"),
    *("hash_of_manifest", "checkpoint_hash", "parent", "created", "source_commit", "python"),
}
# "name value": a run's id, the hash of a checkpoint (over that id) as source of a figure, version and commit.
IDENTITY = re.compile(r"\S+ [0-9a-f]{32}|source [0-9a-f]{64}|code \d+\.\d+\.\d+( [0-9a-f]+)?")
# Files whose content is times, processes or caches: their presence is compared, no more.
PRESENCE = {"LOCK", "lease.json", "timing.jsonl", "data_fingerprints.json"}
IGNORED = re.compile(r"(^|/)(tmp|\.cache|\.config|\.local|\.triton|__pycache__)(/|$)|(^|/)events(?!\.jsonl$)[^/]*$")

# What a change of the code took away or added on purpose: left out of both sides.
GONE_KEYS = {"train.qat_calibrate", "qat_calibrate", "data.worker_kind", "worker_kind", "float_epe"}
GONE_KEYS |= {"converted"}  # came: the lengths of a log of format 1 that a resume converted
GONE_ROWS = re.compile(r'<tr><th scope="row">(train\.qat_calibrate|data\.worker_kind)</th>.*?</tr>')
GONE_WORDS = re.compile(r"\bqat_fc2_180x240, |, bench\b|, finetune_frozen_bn\b|\bfinetune_frozen_bn, ")
RENAMED = (("edgeflownas bench loader", "python benchmarks/loader.py"),)
GONE_LINES = re.compile(r"\bqat|\bbench\b|finetune_frozen_bn|worker_kind")

# Lines that come by the clock, or say that the code of a resumed run is another.
BY_CHANCE = re.compile(r"train step \d|changed since this run began: code\.")
NUMBER = re.compile(r"[-+]?\b\d[\d,]*(\.\d+)?([eE][-+]?\d+)?(?![\w.])")


# ---- texts ----


def general(text: str, places: list[str]) -> str:
    """A text without the places of its tree, in today's words."""
    for place in places:
        text = text.replace(place, "PLACE")
    for before, now in RENAMED:
        text = text.replace(before, now)
    return text


def masked(text: str, places: list[str]) -> list[str]:
    """Lines without numbers, hashes, places, the width of columns, and progress lines that come by the clock."""
    text = GONE_WORDS.sub("", general(text, places))
    lines = []
    for line in text.splitlines():
        if BY_CHANCE.match(line) or GONE_LINES.search(line):
            continue
        line = re.sub(r"\b\d+\.\d+\.\d+( [0-9a-f]{7,40})?\b", "VERSION", line)
        line = re.sub(r"\b[0-9a-f]{8,64}\b", "HASH", line)
        line = re.sub(r"\b(one|two|\d+) (seconds?|minutes?|h|min|s|ms)\b", "# s", line)
        line = NUMBER.sub("#", line)
        line = re.sub(r"#%|# %", "#", line)
        lines.append(re.sub(r"-{2,}", "--", re.sub(r" +", " ", line)).rstrip())
    return lines


def text_differences(base: str, tree: str, places: list[str]) -> list[str]:
    """A diff of two masked texts, without its head."""
    return line_differences(masked(base, places), masked(tree, places))


def line_differences(ours: list[str], theirs: list[str]) -> list[str]:
    """A diff of two lists of lines, without its head."""
    found = difflib.unified_diff(ours, theirs, "base", "tree", lineterm="", n=0)
    return [line for line in itertools.islice(found, 2, None) if not line.startswith("@@")]


# ---- plain data ----


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) of everything in a JSON document that must agree."""
    if isinstance(value, dict):
        origin = "checkpoint" in value  # of another run: the hash of a checkpoint is made over the run's id
        for key in value:
            name = str(key)
            last = name.rpartition(".")[2]
            if name in GONE_KEYS:
                continue
            if TIMES.fullmatch(last) or name in IDENTITIES or (origin and name == "hash"):
                yield f"{path}.{name}", "masked"
            else:
                yield from flat(value[key], f"{path}.{name}")
        if not value:
            yield path, {}
    elif isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, str) and (item == "code" or GONE_LINES.search(item)))]
        yield f"{path}[]", len(kept)
        for index, item in enumerate(kept):
            yield from flat(item, f"{path}[{index}]")
    elif isinstance(value, str) and IDENTITY.fullmatch(f"{path.rpartition('.')[2]} {value}"):
        yield path, "masked"
    else:
        yield path, value


def document_differences(base: Any, tree: Any, places: list[str] | None = None) -> list[str]:
    """Where two JSON documents differ."""
    ours, theirs = dict(flat(base)), dict(flat(tree))
    found = []
    for path in {**ours, **theirs}:
        missing = object()
        one, two = ours.get(path, missing), theirs.get(path, missing)
        if one is missing or two is missing:
            found.append(f"{path}: only in the {'tree' if one is missing else 'base'}")
        elif not _same(one, two, places or []):
            found.append(f"{path}: {_short(one)} | {_short(two)}")
    return found


def _same(one: Any, two: Any, places: list[str]) -> bool:
    if isinstance(one, float) and isinstance(two, float) and math.isnan(one) and math.isnan(two):
        return True
    if isinstance(one, str) and isinstance(two, str) and one != two:
        one, two = general(one, places), general(two, places)
        # A sentence may hold a time; a name or a code holds no space.
        return one == two or (" s" in one and masked(one, []) == masked(two, []))
    return type(one) is type(two) and one == two


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# ---- events ----


def plain_event(event: dict[str, Any]) -> dict[str, Any]:
    """An event with the ranking of its evaluation as numbers, whichever way it was written.

    Format 1 has the text ``arch_rank_12: rank:index:epe|...`` with four decimals, format 2 the lists ``epes`` and
    ``ranks`` (and ``codes``) in the order of the pool.
    """
    event = dict(event)
    for prefix in ("", "wide_"):
        ranking = None
        for key in [key for key in event if re.fullmatch(rf"{prefix}arch_rank_\d+", key)]:
            ranking = _ranking_of_text(event.pop(key))
        if f"{prefix}epes" in event:
            epes, ranks = event.pop(f"{prefix}epes"), event.pop(f"{prefix}ranks")
            event.pop(f"{prefix}codes", None)
            ranking = [
                [index, rank, f"{float(epe):.4f}"] for index, (rank, epe) in enumerate(zip(ranks, epes, strict=True))
            ]
        if ranking is not None:
            event[f"{prefix}ranking"] = ranking
    return event


def _ranking_of_text(text: str | None) -> list[list[Any]] | None:
    if not text:
        return None
    rows = [part.split(":") for part in text.split("|")]
    return sorted([int(index), int(rank), epe] for rank, index, epe in rows)


# ---- files ----


def read_tensors(path: Path) -> dict[str, Any]:
    """Name -> (type, shape, bytes) of a safetensors file, and its metadata, read without the library."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    head = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    found: dict[str, Any] = {}
    for name, entry in head.items():
        if name == "__metadata__":
            facts = {key: json.loads(value) if value.startswith("{") else value for key, value in entry.items()}
            found.update({f"metadata{path}": value for path, value in flat(facts) if path != ".checksum"})
        else:
            start, end = entry["data_offsets"]
            found[name] = (entry["dtype"], tuple(entry["shape"]), data[start:end])
    return found


def _tensors(base: Path, tree: Path, places: list[str]) -> list[str]:
    ours, theirs = read_tensors(base), read_tensors(tree)
    found = [f"{name}: only in the {'base' if name in ours else 'tree'}" for name in ours.keys() ^ theirs.keys()]
    for name in ours.keys() & theirs.keys():
        one, two = ours[name], theirs[name]
        if one != two:
            about = f" {one[0]} {list(one[1])}" if isinstance(one, tuple) else f" {_short(one)} | {_short(two)}"
            found.append(f"{name}{about}")
    return sorted(found)


def _json(base: Path, tree: Path, places: list[str]) -> list[str]:
    ours, theirs = (json.loads(path.read_text()) for path in (base, tree))
    for document in (ours, theirs):
        if isinstance(document, dict):
            document.pop("format", None)
            document.pop("run", None)
            if base.name == "manifest.json":  # of a checkpoint: hashes over the run's id, lengths of logs
                for key in ("hash", "parent"):
                    document[key] = "masked"
                document["logs"] = sorted(document.get("logs", ()))
                for entry in document.get("files", {}).values():
                    entry["sha256"] = "masked"  # the files themselves are compared
                    entry.pop("bytes", None)
            document.get("manifest", {}).pop("config_hash", None) if base.name == "run_manifest.json" else None
    return document_differences(ours, theirs, places)


def _jsonl(base: Path, tree: Path, places: list[str]) -> list[str]:
    rows = [[json.loads(line) for line in path.read_text().splitlines() if line.strip()] for path in (base, tree)]
    if base.name == "events.jsonl":
        rows = [[plain_event(row) for row in side] for side in rows]
    found = [] if len(rows[0]) == len(rows[1]) else [f"{len(rows[0])} rows | {len(rows[1])} rows"]
    for number, (one, two) in enumerate(zip(*rows, strict=False)):
        found += [f"row {number + 1} {text}" for text in document_differences(one, two, places)]
    return found


def _csv(base: Path, tree: Path, places: list[str]) -> list[str]:
    sides = [list(csv.reader(io.StringIO(path.read_text()))) for path in (base, tree)]
    found = [] if len(sides[0]) == len(sides[1]) else [f"{len(sides[0])} lines | {len(sides[1])} lines"]
    header: list[str] = []
    for number, (one, two) in enumerate(zip(*sides, strict=False)):
        header = one if not header or one[:1] == header[:1] else header
        if len(one) != len(two):
            found.append(f"line {number + 1}: {len(one)} cells | {len(two)} cells")
        for name, left, right in zip(header, one, two, strict=False):
            if left != right and not TIMES.fullmatch(re.sub(r"_\d+$", "", name)):
                found.append(f"line {number + 1} {name}: {_short(left)} | {_short(right)}")
    return found


def _yaml(base: Path, tree: Path, places: list[str]) -> list[str]:
    ours, theirs = (_yaml_content(path.read_text()) for path in (base, tree))
    return document_differences(ours, theirs, places)


def _yaml_content(text: str) -> Any:
    try:
        from ruamel.yaml import YAML

        return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text)))
    except ImportError:
        import yaml

        return yaml.safe_load(text)


def _log(base: Path, tree: Path, places: list[str]) -> list[str]:
    """Without the time of day that each line begins with."""
    texts = (re.sub(r"(?m)^[0-9]{4}-[0-9:\- ]{14} \| ", "", path.read_text()) for path in (base, tree))
    return text_differences(*texts, places)


def _html(base: Path, tree: Path, places: list[str]) -> list[str]:
    """A page by its words and the data of its figures (_pages.py)."""
    sides = [read_page(GONE_ROWS.sub("", general(path.read_text(), places))) for path in (base, tree)]
    (ours, data), (theirs, other) = sides
    return [*line_differences(ours, theirs), *document_differences(data, other, places)]


def _bytes(base: Path, tree: Path, places: list[str]) -> list[str]:
    return [] if base.read_bytes() == tree.read_bytes() else ["other bytes"]


READERS: dict[str, Callable[[Path, Path, list[str]], list[str]]] = {
    ".safetensors": _tensors, ".json": _json, ".jsonl": _jsonl, ".csv": _csv, ".yaml": _yaml, ".log": _log,
    ".html": _html,
}  # fmt: skip


def folder_differences(base: Path, tree: Path, places: list[str], left_out: frozenset[str] = frozenset()) -> list[str]:
    """Where the files of two folders differ, each line with the file's name before it."""
    missing = [folder for folder in (base, tree) if not folder.exists()]
    if missing:
        return [f"{folder} is missing" for folder in missing]
    if base.is_file():
        base, tree, names = base.parent, tree.parent, [{base.name}, {tree.name}]
    else:
        names = [_files(folder, left_out) for folder in (base, tree)]
    found = [f"{name}: only in the {'base' if name in names[0] else 'tree'}" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if Path(name).name in PRESENCE:
            continue
        try:
            lines = READERS.get(Path(name).suffix, _bytes)(base / name, tree / name, places)
        except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
            lines = [f"cannot be read as expected: {type(error).__name__} {error}"]
        found += [f"{name} {line}" for line in lines[:MOST]]
        found += [f"{name} and {len(lines) - MOST} more differences"] if len(lines) > MOST else []
    return found


def _files(folder: Path, left_out: frozenset[str]) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    kept = (path for path in paths if not left_out & {path.name, *path.parts})
    return {str(path) for path in kept if not IGNORED.search(str(path))}
