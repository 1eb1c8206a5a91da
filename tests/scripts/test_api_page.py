"""docs/api.md says what the docstrings say."""

import sys

from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))
import api


def test_the_page_is_up_to_date() -> None:
    assert api.PAGE.read_text() == api.page(), "run `python scripts/api.py`"
