"""`rank`: what is refused before anything is opened."""

import pytest

from edgeflownas import cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocol", "nonsense"], "--protocol nonsense belongs to --data"),
        (["--data", "x", "--protocol", "nonsense"], "--protocol nonsense is none under which"),
        (["--data", "x", "--protocol", "deploy"], "deploy is none under which subnets can be ranked together"),
        (["--seed", "7"], "--seed 7 belongs to a draw"),
        (["--out", ""], "--out '': give the ranking a folder of its own"),
        (["--out", "RUN"], "give the ranking a folder of its own"),
        (["again"], "one run directory expected"),
    ],
)
def test_refused(words, said, tmp_path, capsys):
    (tmp_path / "run_manifest.json").write_text("{}")
    before = list(tmp_path.iterdir())
    assert cli.run(["rank", str(tmp_path), *(str(tmp_path) if word == "RUN" else word for word in words)]) == 64
    err = capsys.readouterr().err
    assert said in err and "--size" not in err and list(tmp_path.iterdir()) == before
