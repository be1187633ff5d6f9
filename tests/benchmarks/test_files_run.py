"""The count of files holds what ran, by phase, in every thread, and leaves imports aside."""

import sys
import threading

import files_run
import pytest

FILES = {
    "entry.py": "from part.used import work\n\ndef start():\n    work()\n    fit()\n\n"
    "def fit():\n    from part import late\n    late.later()\n",
    "used.py": "from part import thrown\nTABLE = thrown.named()\n\nclass Kept:\n    size = len([i for i in 'ab'])\n\n"
    "def work():\n    Sample().read()\n\nclass Sample:\n    def read(self):\n        import threading\n"
    "        from part import aside\n        one = threading.Thread(target=aside.run)\n"
    "        one.start()\n        one.join()\n",
    "thrown.py": "def named():\n    return 1\n",
    "aside.py": "def run():\n    pass\n",
    "late.py": "def later():\n    pass\n",
    "never.py": "def unused():\n    pass\n",
    "__init__.py": "",
}


def test_files_by_phase(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / "part").mkdir(exist_ok=True)
        (tmp_path / "part" / name).write_text(text)
    phases = {files_run.TO_LOOP: ("entry.py:fit",), "sample": ("used.py:Sample.read",)}
    monkeypatch.setattr(files_run, "PHASES", phases)
    monkeypatch.syspath_prepend(str(tmp_path))
    counter = files_run.Counter(tmp_path / "part")
    before = sys.getprofile()
    threading.setprofile(counter)
    sys.setprofile(counter)
    try:
        from part.entry import start  # type: ignore[import-not-found]

        start()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]
    assert counter.result() == {
        files_run.WHOLE: ["aside.py", "entry.py", "late.py", "used.py"],
        files_run.TO_LOOP: ["aside.py", "entry.py", "used.py"],
        "sample": ["used.py"],
        f"{files_run.WHOLE}{files_run.IMPORTS}": ["thrown.py"],
        f"{files_run.TO_LOOP}{files_run.IMPORTS}": ["thrown.py"],
    }


PASSED = {
    "net.py": "def epe():\n    return 2.50004\n",
    "table.py": "from dataclasses import dataclass\n\n@dataclass\nclass Row:\n    epe: float\n\n"
    "def rows(value):\n    return [Row(value)]\n\ndef line(row):\n    return f'{row.epe:.4f} px'\n",
    "sink.py": "def save(text):\n    pass\n\ndef hand_on(rows):\n    pass\n",
    "code.py": "import numpy as np\n\ndef chosen():\n    return np.array([[0, 1, 2], [2, 1, 0]])\n\n"
    "def named(code):\n    return code\n\ndef other():\n    return [2.4, '0,1,22', (0, 1)]\n",
    "apart.py": "def work(count):\n    return count + 1\n",
    "__init__.py": "",
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2.50004", {"net.py": ["epe"], "table.py": ["rows", "line"], "sink.py": ["save", "(hand_on)"]}),
        ("2,1,0", {"code.py": ["chosen", "named"]}),
        ("7.5", {}),
    ],
)
def test_files_that_a_value_passes(tmp_path, monkeypatch, value, expected):
    package = tmp_path / "passed"
    package.mkdir()
    for name, text in PASSED.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "passed"]:
        monkeypatch.delitem(sys.modules, name)
    from passed import apart, code, net, sink, table  # type: ignore[import-not-found]

    before = sys.getprofile()
    follower = files_run.Follower(package, value)
    sys.setprofile(follower)
    try:
        rows = table.rows(net.epe())
        sink.save(table.line(rows[0]))
        sink.hand_on(rows)
        code.chosen()
        code.named("best 2,1,0")
        code.other()
        apart.work(1)
    finally:
        sys.setprofile(before)
    assert follower.result() == expected
