"""Kill -9 a training run again and again, and count: the same bits as if nothing had happened.

    python benchmarks/faults.py WORK --kills 300        # make faults KILLS=300

Rounds of kills at random moments of the real trainer (start-up, step, evaluation, commit), in turn without and with two
loader threads.  Compared with an uninterrupted run: every tensor, events.jsonl and the other logs of facts, best.json,
eval_history.csv (times aside), the errors of every sample.  WORK/faults.jsonl holds a line for each round, so that the
same command goes on until there were as many kills as asked for.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests")]

from test_killed_training import calls, harness, tiny  # noqa: E402

ROUND = 20  # kills


def main(words: list[str] | None = None) -> int:
    """Exit code 1 where a run differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder of the rounds")
    parser.add_argument("--kills", type=int, default=300, help="in all, those of earlier calls included")
    given = parser.parse_args(words)
    given.work.mkdir(parents=True, exist_ok=True)
    file = given.work / "faults.jsonl"
    rounds = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    data = given.work / "data"
    if not (data / "complete").exists():
        shutil.rmtree(data, ignore_errors=True)
        tiny.make_tiny(data, train=9)
        (data / "complete").touch()
    while (done := sum(row["kills"] for row in rounds)) < given.kills:
        number = len(rounds)
        begin, resume = calls(data, workers=2 * (number % 2))
        folder = given.work / "runs"
        shutil.rmtree(folder, ignore_errors=True)
        wanted = min(ROUND, given.kills - done)
        row = harness.kill_trials(begin, resume, folder, kills=wanted, seed=number, timeout=120.0 + 20 * wanted)
        rounds.append({"round": number, **row})
        with file.open("a") as stream:
            stream.write(json.dumps(rounds[-1]) + "\n")
        print(f"round {number}: {row['kills']} kills, {len(row['mismatches'])} differences, {row['seconds']:.0f} s")
    hits = sum((Counter(row["hits"]) for row in rounds), Counter())
    differences = [difference for row in rounds for difference in row["mismatches"]]
    orphans = sum(row["orphans"] for row in rounds)
    print(f"{done} kills, {len(differences)} differences, {orphans} processes left behind")
    print("killed at:", ", ".join(f"{place} {count}" for place, count in hits.most_common()))
    for difference in differences:
        print(difference)
    return 1 if differences or orphans else 0


if __name__ == "__main__":
    sys.exit(main())
