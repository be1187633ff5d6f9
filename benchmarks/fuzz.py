"""Altered files for every reader: only named errors, within 2 s and 512 MB each, and nothing silently half read.

    python benchmarks/fuzz.py WORK --count 1000000        # make fuzz COUNT=1000000
    python benchmarks/fuzz.py WORK --only npz json.state  # some readers, named as below

Input number i of a reader is a function of (reader, i): a sound file, cut, lengthened, flipped, with numbers put in, or
mixed with another; of a JSON document an entry removed or replaced, with the hashes put right.  WORK/fuzz.json counts
what was done, so that the same command goes on where it ended.  A fault leaves the file in WORK/found/ and its
traceback in the report; ``tests/corpus`` keeps those that were mended.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeflownas.arrays import read_npz
from edgeflownas.config.load import read_yaml
from edgeflownas.data import fc2, formats, frames
from edgeflownas.errors import UserError
from edgeflownas.evaluate.results import read_tensors, tensor_bytes
from edgeflownas.files import canonical_json, read_json, read_lines
from edgeflownas.run import documents
from edgeflownas.search.ranking import read_ranking

SECONDS, MEGABYTES = 2, 512
ROUND = 500  # inputs of a reader before the next has its turn
DEPTHS = (1, 2, 4, 8)  # alterations of one input
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 16384, 16385, 10**9]
VALUES: list[Any] = [None, True, -1, 0, 2**63, 1.5, "", "x", "../../x", [], [1], {}, {"a": 1}, [[]], "\x1b[2J", "=1+1"]


@dataclass(frozen=True)
class Reader:
    """A reader, what its file is called, and the sound files it begins with."""

    suffix: str
    read: Callable[[Path], object]
    seeds: Callable[[Path], list[bytes]]
    document: bool = False  # whether the content is JSON, altered entry by entry


def _written(write: Callable[[Path], object], name: str) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        write(folder / name)
        return [(folder / name).read_bytes()]

    return seeds


def _picture(shape: tuple[int, ...], kind: Any = np.uint8) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape).astype(kind)


def _pictures(name: str, *shapes: tuple[int, ...], kind: Any = np.uint8) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        found = []
        for shape in shapes:
            assert cv2.imwrite(str(folder / name), _picture(shape, kind))
            found.append((folder / name).read_bytes())
        return found

    return seeds


def _video(folder: Path) -> list[bytes]:
    path = folder / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (32, 32))
    for _ in range(3):
        writer.write(_picture((32, 32, 3)))
    writer.release()
    return [path.read_bytes()]


def _npz(folder: Path) -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **{"weights/E0_conv/kernel": np.ones((7, 7, 6, 2), np.float32), "weights/b": np.arange(5)})
        found.append(buffer.getvalue())
    return found


def _ranking(folder: Path) -> list[bytes]:
    from edgeflownas.evaluate.results import SampleErrors

    arrays = {"digits": np.zeros((2, 9), np.int64), "column.epe": np.ones(2), "sample_epe": np.ones((2, 3), np.float16)}
    errors = SampleErrors(("0,0", "1,1"), np.ones((2, 3), np.float32), np.ones(3, np.int64), "set", 1)
    words = {"words": "{}", "facts": "{}", "columns": '["epe"]', "space": "v1"}
    return [tensor_bytes(arrays, words), errors.to_bytes()]


def _ranking_csv(folder: Path) -> list[bytes]:
    return [b"code,rank,epe,EB0,parameters\n0,1,2.5,depth 1,10\n1,2,3.5,depth 2,20\n"]


def _frames(path: Path) -> object:
    return frames.read_picture(path)


def _film(path: Path) -> object:
    return [frame.image.sum() for frame in frames.open_frames([path]).read(lambda text: None)]


def _index(path: Path) -> object:
    """A list among sound others."""
    (path.parent / "FC2_dirnames.txt").write_bytes(path.read_bytes())
    for split in fc2.SPLITS:
        (path.parent / f"FC2_{split}.txt").write_text("0\n" if split == "train" else "")
    lists = fc2.read_index(path.parent)
    return fc2.index_report(lists, path.parent)


def _tflite(folder: Path) -> list[bytes]:
    from edgeflownas.hardware.tflite import cost_model_bytes
    from edgeflownas.models.graph import subnet_graph
    from edgeflownas.space import get_space

    space = get_space("v1")
    return [cost_model_bytes(subnet_graph(space, 4, space.parse("000000000"), (32, 48)))]


def _model(path: Path) -> object:
    from edgeflownas.hardware.litert import verify

    return verify(path.read_bytes(), str(path))


def _json_of(name: str, model: type[documents.Document], sound: Any) -> Reader:
    def read(path: Path) -> object:
        return documents.require(model, read_json(path), path)

    return Reader(f"{name}.json", read, lambda folder: [canonical_json(sound)], document=True)


DIGEST = "0" * 64
FROZEN = {"label": "a", "batch_size": 2, "names": ["a", "b"], "windows": [[0, 0, 8, 8], [0, 0, 8, 8]]}
PRINT = {
    "hash": "a",
    "count": 1,
    "split": "train",
    "source": "folder",
    "crc_kind": "full",
    "table": [["a", 1, 2, 3, 4]],
}
BEST = {"checkpoint": "step-00000001", "value": 1.0, "epoch": 1, "criterion": "mean", "eval_set": "a"}
STATE = {"planned": 4, "num_epochs": 1, "last_epes": [1.0], "best": BEST, "quarantined": ["a"]}
POSITION = {"step": 1, "epoch": 0, "batch": 1, "evaluated": True}
ENTRY = {"sha256": DIGEST, "bytes": 1}
COMMIT = {"format": 1, "run": "a", "position": POSITION, "files": {"state.json": ENTRY}, "logs": {"events.jsonl": 1}}
COMMIT |= {"best": BEST, "finished": False, "hash": DIGEST, "session": {}, "parent": None}
DATA = {"fingerprint": "a", "count": 1, "label": "a", "source": "folder"}
PLAN = dict.fromkeys(("num_epochs", "steps_per_epoch", "total_steps", "draws_per_epoch", "planned_samples"), 1)
FACTS = {"keys": {kind: {"train.lr": 1.0} for kind in ("identity", "dynamics", "observation")}, "plan": PLAN}
FACTS |= {"data": {"train": DATA, "val": DATA}, "space": {"name": "v1", "size": 2, "choices": [{"name": "EB0"}]}}
FACTS |= {"code": {"version": "1"}, "environment": {"torch": "2"}}
LEASE = {"pid": 1, "process_started": 1, "host": "a", "boot_id": "a", "started": 1.0, "token": "a"}
SET = {"format": 1, "hash": "a", "flow_clip": 50.0, "calibration": FROZEN, "evaluation": FROZEN, "pool": ["0,0"]}
SET |= {"coverage": {"EB0": [1, 0]}, "settings": {"batch_size": 2}, "monitors": {"wide": {**FROZEN, "hash": "a"}}}

READERS = {
    "flo": Reader(
        ".flo", formats.read_flow, _written(lambda p: formats.write_flow(p, _picture((5, 7, 2), "f4")), "a.flo")
    ),
    "pfm": Reader(
        ".pfm", formats.read_flow, _written(lambda p: formats.write_flow(p, _picture((5, 7, 2), "f4")), "a.pfm")
    ),
    "pfm.values": Reader(
        ".pfm", formats.read_pfm, _written(lambda p: formats.write_pfm(p, _picture((5, 7), "f4")), "b.pfm")
    ),
    "kitti": Reader(
        ".png", formats.read_flow, _written(lambda p: formats.write_flow(p, _picture((5, 7, 2), "f4")), "a.png")
    ),
    "flo5": Reader(".flo5", formats.read_flow, lambda folder: [b"\x89HDF\r\n\x1a\n" + bytes(200)]),
    "image.png": Reader(".png", formats.read_image, _pictures("b.png", (5, 7, 3), (5, 7), (5, 7, 4))),
    "image.png16": Reader(".png", formats.read_image, _pictures("c.png", (5, 7, 3), (5, 7), kind=np.uint16)),
    "image.ppm": Reader(".ppm", formats.read_image, _pictures("b.ppm", (5, 7, 3))),
    "mask": Reader(".png", formats.read_mask, _pictures("d.png", (5, 7), (5, 7, 3))),
    "picture.jpg": Reader(".jpg", _frames, _pictures("b.jpg", (24, 24, 3), (24, 24))),
    "picture.png": Reader(".png", _frames, _pictures("e.png", (5, 7, 3), (5, 7), (5, 7, 4))),
    "video": Reader(".avi", _film, _video),
    "npz": Reader(".npz", read_npz, _npz),
    "safetensors": Reader(".safetensors", read_tensors, _ranking),
    "ranking": Reader(".safetensors", read_ranking, _ranking),
    "ranking.csv": Reader(".csv", read_ranking, _ranking_csv),
    "tflite": Reader(".tflite", _model, _tflite),
    "yaml": Reader(
        ".yaml", lambda p: read_yaml(p, "a recipe"), lambda f: [b"train:\n  lr: 1.0e-4\n  arch: [a, 'b']\n"]
    ),
    "list": Reader(".txt", lambda p: read_lines(p, "a list"), lambda folder: [b"1\n2\n1\n"]),
    "fc2.index": Reader(
        ".txt", _index, lambda f: [b"D:\\FlyingChairs2\\train\\0000001-img_0.png\n", b"/a/train/1-img_0.png\n"]
    ),
    "json": Reader(".json", read_json, lambda folder: [canonical_json(COMMIT)]),
    "json.identity": _json_of("identity", documents.Identity, {"format": 2, "run": "a", "manifest": FACTS}),
    "json.trained": _json_of("trained", documents.TrainedFacts, FACTS),
    "json.group": _json_of("group", documents.Group, {"format": 1, "models": {"a": "0,0"}}),
    "json.lease": _json_of("lease", documents.Lease, LEASE),
    "json.best": _json_of("best", documents.Best, BEST),
    "json.commit": _json_of("commit", documents.Commit, COMMIT),
    "json.state": _json_of("state", documents.State, STATE),
    "json.eval_set": _json_of("eval_set", documents.EvalSetFile, SET),
    "json.planned": _json_of("sweep", documents.PlannedRun, {"variant": "a", "seed": 0, "keys": {}, "settings": {}}),
    "json.pictures": _json_of(
        "index",
        documents.PictureIndex,
        {"pictures": [{"file": "a.png", "roles": ["best"], "panels": ["a"]}], "epoch": 1},
    ),
    "json.prints": _json_of("prints", documents.Prints, {"train": PRINT, "val": PRINT}),
}
"""Every reader of files that others may have made; tests/benchmarks/test_fuzz.py compares with those that exist."""


COVERED = {
    "read_flow": "flo", "read_flo": "flo", "read_pfm": "pfm.values", "read_kitti": "kitti", "read_flo5": "flo5",
    "read_image": "image.png", "read_mask": "mask", "read_picture": "picture.jpg", "read_true_flow": "flo",
    "read_npz": "npz", "read_tensors": "safetensors", "read_sample_errors": "safetensors", "read_ranking": "ranking",
    "read_yaml": "yaml", "read_recipe": "yaml", "read_lines": "list", "read_index": "fc2.index", "read_codes": "list",
    "read_file": "json", "read_json": "json", "read_rows": "json", "read_identity": "json.identity",
    "read_group": "json.group", "read_manifest": "json.commit", "read_checkpoint": "json.commit",
    "read_eval_set": "json.eval_set", "read_given_set": "json.eval_set", "read_plan": "json.planned",
    "read_report": "has a model of its own in export/folder.py", "read_ini": "is configparser's",
    "read_history": "has tests of its own (tests/report/diagnosis/test_fuzz.py)", "read_facts": "reads runs by these",
    "read_ended": "reads runs by these", "read_subnets": "reads runs by these", "read_pairs": "reads data by these",
    
    "read_any_facts": "reads runs by these", "read_histories": "reads runs by these", "read_as_today": "yaml",
    "read_log": "has tests of its own (tests/report)", "read_paths": "list",
    "read_card": "is of the package itself", "read_weights": "is of the package itself",
    "read_initial": "reads runs by these", "read_gradients": "reads no file", "read_size": "reads no file",
}  # fmt: skip
"""Functions of the package called read_*: their reader above, or why there is none."""


# ---- altering ----


def altered(seeds: list[bytes], draw: random.Random) -> bytes:
    """A sound file with up to eight alterations."""
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice(DEPTHS)):
        place, kind = draw.randrange(len(content) + 1), draw.randrange(7)
        if kind == 0:
            del content[place:]
        elif kind == 1:
            content[place:place] = draw.randbytes(draw.randrange(1, 9))
        elif kind == 2:
            del content[place : place + draw.randrange(1, 9)]
        elif kind == 3 and place < len(content):
            content[place] ^= 1 << draw.randrange(8)
        elif kind == 4:
            number = draw.choice(NUMBERS).to_bytes(4, draw.choice(("little", "big")))
            content[place : place + 4] = number
        elif kind == 5:
            other = draw.choice(seeds)
            content[place:] = other[draw.randrange(len(other) + 1) :]
        elif kind == 6 and content[:4] == b"PK\x03\x04":
            return bytes(_repacked(bytes(content), draw))
    return bytes(content)


def _repacked(content: bytes, draw: random.Random) -> bytes:
    """A zip whose entries were altered before they were packed, so that the archive itself is sound."""
    buffer = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
            for entry in old.namelist():
                inside = bytearray(old.read(entry))
                inside[draw.randrange(min(len(inside), 128))] = draw.randrange(256)
                new.writestr(entry, inside)
    except Exception:  # altered before: nothing to repack
        return content
    return buffer.getvalue()


def altered_document(sound: bytes, draw: random.Random) -> bytes:
    """A JSON document with an entry removed, replaced or added; its hash, where it has one, put right."""
    document = copy.deepcopy(json.loads(sound))
    for _ in range(draw.choice(DEPTHS[:2])):
        places = list(_places(document))
        holder, key = draw.choice(places)
        kind = draw.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[draw.choice(["a", "", "__class__", "extra"])] = copy.deepcopy(draw.choice(VALUES))
        else:
            holder[key] = copy.deepcopy(draw.choice(VALUES))
        if not document:
            break
    if isinstance(document, dict) and isinstance(document.get("hash"), str):
        body = canonical_json({key: value for key, value in document.items() if key != "hash"})
        document["hash"] = hashlib.sha256(body).hexdigest()
    return canonical_json(document)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


# ---- trying ----


class TooLong(BaseException):
    """No error of a reader."""


def attempt(reader: Reader, path: Path) -> str:
    """What is wrong with the reader: empty where it read the file or refused it in words, in time and memory."""

    def stop(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        reader.read(path)
    except UserError as error:
        return "" if path.name in str(error) or path.parent.name in str(error) else f"unnamed: {error}"
    except ValueError as error:
        if reader.read is read_tensors:  # says so in its docstring; its callers name the file
            return ""
        return "".join(traceback.format_exception(error)[-4:])
    except TooLong:
        return f"longer than {SECONDS} s"
    except Exception as error:
        return "".join(traceback.format_exception(error)[-4:])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return ""


def fuzz(work: Path, names: list[str], count: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Try ``count`` inputs, shared among the readers; go on where WORK/fuzz.json says.  Returns its content."""
    inputs, found = work / "inputs", work / "found"
    for folder in (inputs, found):
        folder.mkdir(parents=True, exist_ok=True)
    file = work / "fuzz.json"
    report: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"done": {}, "faults": [], "seconds": 0}
    began, started = time.monotonic(), report["seconds"]
    each = -(-count // len(names))
    seeds = {name: READERS[name].seeds(inputs) for name in names}
    for first in range(0, each, ROUND):  # all readers get on together
        for name in names:
            reader = READERS[name]
            for number in range(max(first, report["done"].get(name, 0)), min(first + ROUND, each)):
                draw = random.Random(f"{name}:{number}")
                content = altered_document(seeds[name][0], draw) if reader.document else altered(seeds[name], draw)
                path = inputs / f"input{reader.suffix}"
                path.write_bytes(content)
                with _quiet():
                    fault = attempt(reader, path)
                if fault:
                    kept = found / f"{name}-{number}{path.suffix}"
                    shutil.copy(path, kept)
                    report["faults"].append({"reader": name, "input": number, "file": str(kept), "fault": fault})
                    say(f"{name} {number}: {fault}")
                report["done"][name] = number + 1
        report["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        report["seconds"] = round(started + time.monotonic() - began, 1)
        file.write_text(json.dumps(report, indent=1))
    report["inputs"] = sum(report["done"].values())
    file.write_text(json.dumps(report, indent=1))
    return report


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what decoders write to standard error."""
    before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def main(words: list[str] | None = None) -> int:
    """Exit code 1 where a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder of the counts and of what was found")
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs in all, those done before included")
    parser.add_argument("--only", nargs="+", choices=list(READERS), default=list(READERS), help="these readers")
    given = parser.parse_args(words)
    report = fuzz(given.work, given.only, given.count)
    faults = len(report["faults"])
    print(f"{report['inputs']:,} inputs, {faults} faults, peak {report.get('peak_mb')} MB, {report['seconds']} s")
    return 1 if faults or report.get("peak_mb", 0) > MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())
