"""What README and docs say is so: the Python runs, commands and files exist, links lead somewhere."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
PAGES = {
    path: path.read_text(encoding="utf-8") for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
COMMAND = re.compile(r"^(?:    )?(?:.* && )?(edgeflownas [a-z].*)$|`(edgeflownas [a-z][^`]*)`", re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
GROUPS = {"config", "data", "recipes", "weights"}  # verbs with verbs of their own
WEB = ("http://", "https://")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for tag, text in fenced if tag == language]


def commands(page: str) -> list[list[str]]:
    """Every `edgeflownas ...` of a page, continued lines joined, split into words."""
    joined = page.replace("\\\n", " ")
    return [shlex.split(plain or quoted, comments=True) for plain, quoted in COMMAND.findall(joined)]


def anchors(page: str) -> set[str]:
    heads = re.findall(r"^#+ +(.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def known_verbs() -> set[str]:
    from edgeflownas.cli import COMMANDS

    return {verb for verb, _, _ in COMMANDS}


@functools.cache
def help_of(*words: str) -> str:
    """What `--help` prints."""
    from edgeflownas.cli import run

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run([*words, "--help"]) == 0, f"edgeflownas {' '.join(words)}"
    return printed.getvalue()


def options(words: list[str]) -> list[str]:
    return [word.split("=")[0] for word in words if word.startswith("--")]


def unknown_key(option: str) -> bool:
    """Whether `--group.key` names no configuration key."""
    from edgeflownas.config import Config

    group, _, key = option[2:].partition(".")
    field = Config.model_fields.get(group)
    return field is None or key not in getattr(field.annotation, "model_fields", {})


def test_the_lines_of_python_run_and_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (code,) = blocks(READMES[0].read_text(encoding="utf-8"), "python")
    monkeypatch.chdir(tmp_path)
    for name in ("A.png", "B.png"):
        cv2.imwrite(name, np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8))
    made: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), made)
    flow = made["flow"]
    assert isinstance(flow, np.ndarray) and flow.shape == (40, 56, 2) and flow.dtype == np.float32


def test_both_readmes_show_the_same_code_commands_and_files():
    english, chinese = (path.read_text(encoding="utf-8") for path in READMES)

    def bare(text: str) -> list[str]:
        return [line.split("#")[0].strip() for line in text.splitlines()]

    assert bare(blocks(english, "python")[0]) == bare(blocks(chinese, "python")[0])
    assert blocks(english, "bash") == blocks(chinese, "bash")
    assert tree(english) == tree(chinese)


def tree(page: str) -> list[str]:
    """Paths of the file tree, a line each: two more spaces, one folder deeper."""
    (drawn,) = blocks(page, "")
    parent, paths = "", []
    for line in drawn.splitlines():
        entry = line.split()[0]
        if not line.startswith(" "):
            parent = entry if "  " not in line.strip() else ""
        paths.append(parent + entry if line.startswith(" ") else entry)
    return paths


@pytest.mark.parametrize("path", READMES, ids=name)
def test_the_file_tree_exists_and_has_a_line_for_every_folder(path: Path):
    listed = tree(PAGES[path])
    assert [entry for entry in listed if not (ROOT / entry).exists()] == []
    folders = {f"{name(file.parent)}/" for file in (ROOT / "src/edgeflownas").rglob("*.*") if file.suffix != ".pyc"}
    folders |= {f"{folder}/" for folder in ("tests", "docs", "benchmarks", "examples", "experiments")}
    assert folders <= set(listed) and len(listed) == len(set(listed))


def test_readme_and_contributing_are_short():
    limits = dict.fromkeys(READMES, 150) | {ROOT / "CONTRIBUTING.md": 60}
    assert [name(path) for path, limit in limits.items() if len(PAGES[path].splitlines()) > limit] == []


def test_every_command_exists_with_its_options_and_keys():
    wrong = []
    for path, page in PAGES.items():
        for _, verb, *rest in commands(page):
            sub = rest[:1] if verb in GROUPS and rest and not rest[0].startswith("--") else []
            text = help_of(verb, *sub) if verb in known_verbs() else ""
            own = [o for o in options(rest) if (unknown_key(o) if "." in o else o != "--help" and o not in text)]
            wrong += [f"{name(path)}: edgeflownas {verb} {own}"] if own or not text else []
    assert wrong == []


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    said = re.compile(r"^    make ((?:[a-z-]+ ?)+)|`make ((?:[a-z-]+ ?)+)`", re.MULTILINE)
    named = [(name(path), word) for path, page in PAGES.items() for pair in said.findall(page) for word in pair]
    assert [(page, word) for page, words in named for word in words.split() if word not in targets] == []


def test_links_lead_somewhere():
    broken = []
    for path, page in PAGES.items():
        for link in LINK.findall(page):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            there = target.exists() and (not anchor or anchor in anchors(target.read_text(encoding="utf-8")))
            broken += [f"{name(path)}: {link}"] if not link.startswith(WEB) and not there else []
    assert broken == []


def test_files_named_in_running_text_exist():
    """`tests/...`, `src/...`, `benchmarks/...` and the like in backticks are promises."""
    said = re.compile(r"`(?:python )?((?:tests|src|docs|examples|benchmarks)/[\w./-]+)[` ]")
    named = [(name(path), file) for path, page in PAGES.items() for file in said.findall(page)]
    assert [(page, file) for page, file in named if not (ROOT / file).exists()] == []


def test_these_checks_can_fail(tmp_path: Path):
    assert commands("    edgeflownas teach smoke\n") == [["edgeflownas", "teach", "smoke"]]
    assert commands("see `edgeflownas status runs`") == [["edgeflownas", "status", "runs"]]
    assert "teach" not in known_verbs()
    assert unknown_key("--train.lrr") and not unknown_key("--train.lr")
    assert "no-such-head" not in anchors("# Words\n## BN recalibration and the pool\n")
    assert "bn-recalibration-and-the-pool" in anchors("## BN recalibration and the pool\n")
