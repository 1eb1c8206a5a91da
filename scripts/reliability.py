"""Put what the tests of faults measured into results/reliability/ and docs/reliability.md.

    python -m scripts.reliability <report>    pytest's --junitxml of the long tests

`make test-faults` runs the tests and then this.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import torch

from lpwd.config import machine
from lpwd.config.paths import ROOT
from lpwd.draw.formats import pipe_table
from lpwd.draw.pages import filled
from lpwd.store.files import write_whole

FILE = ROOT / "results" / "reliability" / "reliability.csv"
PAGE = ROOT / "docs" / "reliability.md"


def figures(report: Path) -> pd.DataFrame:
    """What the tests recorded, as "what was done: what was counted"; counts of one name added."""
    suite = ElementTree.parse(report).getroot()
    if suite.find(".//failure") is not None or suite.find(".//error") is not None:
        sys.exit(f"error: {report}: tests failed; the page stays as it was")
    found: dict[str, Any] = {}
    for node in suite.iter("property"):
        name, value = node.get("name", ""), node.get("value", "")
        found[name] = found.get(name, 0) + int(value) if value.isdecimal() else value
    rows = [(*name.split(": ", 1), value) for name, value in found.items()]
    return pd.DataFrame(rows, columns=["done", "counted", "value"])


def table(frame: pd.DataFrame) -> str:
    """The figures as Markdown; what was done is named once."""
    done = frame["done"].where(frame["done"] != frame["done"].shift(), "")
    shown = [f"{value:,}" if isinstance(value, int) else value for value in frame["value"]]
    heads = [["What was done", "Counted", ""], ["---", "---", "---:"]]
    return pipe_table([*heads, *map(list, zip(done, frame["counted"], shown, strict=True))])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path)
    frame, on = figures(parser.parse_args().report), machine.machine(torch.device("cpu"))
    write_whole(FILE, frame.assign(device=on).to_csv(index=False).encode())
    write_whole(PAGE, filled(PAGE, {"reliability": f"Measured on {on}.\n\n{table(frame)}"}))


if __name__ == "__main__":
    main()
