"""The command line: Hydra's own, names made of digits, and a terminal that is not UTF-8."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from faults import Warm

from lpwd.config.check import command_line
from lpwd.config.errors import one_line_errors


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--cfg", "job"], "experiment: null"),
        (["-c", "job"], "experiment: null"),
        (["--info", "defaults"], "Defaults List"),
        (["--cfg=job", "--package", "decay"], "method: lpwd"),
        (["--config-dir", "/", "--cfg", "job"], "experiment: null"),
    ],
)
def test_hydras_flags_take_their_value_after_a_space(
    warm: Warm, tmp_path: Path, flags: list[str], said: str
) -> None:
    code, printed = warm.run(*flags, "scale=smoke", results=tmp_path / "results")
    assert code == 0, printed
    assert said in printed


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("data.root=2024", "data.root='2024'"),
        ("data.root=2024_01", "data.root='2024_01'"),  # to Hydra the number 202401
        ("++wandb.group=1e5", "++wandb.group='1e5'"),
        ("wandb.group=2024_01,x,2024_02", "wandb.group='2024_01',x,'2024_02'"),
        ("wandb.group=choice(2024_01, x, 7)", "wandb.group=choice('2024_01', x, '7')"),
        ("wandb.group=shuffle(choice(7,'a,8'))", "wandb.group=shuffle(choice('7','a,8'))"),
        ("seed=choice(1,2)", "seed=choice(1,2)"),
        ("model.pretrained=7", "model.pretrained='7'"),
        ("model.pretrained=true", "model.pretrained=true"),
        ("wandb.group=null", "wandb.group=null"),
        ("seed=1_0", "seed=1_0"),
        ("seed=1,2", "seed=1,2"),
        ("wandb.group='7'", "wandb.group='7'"),
        ("~wandb.group", "~wandb.group"),
    ],
)
def test_a_name_made_of_digits_is_a_name(given: str, read: str) -> None:
    assert command_line(["--cfg", "job", given]) == ["--cfg", "job", read]


@pytest.mark.parametrize("root", ["/a (b)", "~/images", "/x=y", '/the "a" set', "/ä/é"])
def test_a_value_that_hydra_cannot_read_is_shown_in_quotes_that_it_can(
    warm: Warm, tmp_path: Path, root: str
) -> None:
    import shlex

    code, said = warm.run("scale=smoke", f"data.root={root}", results=tmp_path / "results")
    assert code == 2
    quoted = said.splitlines()[0].partition("go in quotes, as in ")[2]
    code, said = warm.run("--cfg", "job", *shlex.split(quoted), results=tmp_path / "results")
    assert code == 0, said
    assert f"  root: {root}\n" in said


def test_what_a_terminal_cannot_show_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, encoding="ascii"))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # put back when the test ends
    with one_line_errors():
        print("top-1 22.40 ± 0.12 ✓", flush=True)
    assert terminal.getvalue() == b"top-1 22.40 ? 0.12 ?\n"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["scale=smoke", "decay.ratee=1"], ["scale=smoke", "seed=-1"]]
)
def test_an_answer_without_training_imports_nothing_large(arguments: list[str]) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['lpwd.train', *{arguments!r}]\n"
        "try: runpy.run_module('lpwd.train', run_name='__main__', alter_sys=True)\n"
        "except SystemExit: pass\n"
        "print('large:', {'torch', 'pandas', 'numpy', 'timm', 'wandb'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "large: set()", done.stderr
