"""Every target's files, from stored runs: the one list of what can be drawn."""

from __future__ import annotations

from lpwd.analysis.main_grid import MainGrid


def files(target: str, main: MainGrid) -> dict[str, bytes]:
    """{file name: content} of a target, gaps included; a page of the repository by its path.

    The same bytes whenever nothing changed (same package versions).
    """
    if target.startswith("table") or target == "rivals":
        from lpwd.draw import tables

        return tables.files(target, main)
    target = "figure6" if target == "moredecay" else target  # its runs are drawn there
    if target.startswith("figure"):  # matplotlib takes half a second to import
        from lpwd.draw import figures

        return figures.files(target, main)
    if target == "claims":
        from lpwd.draw import claims

        return claims.files(main)
    if target == "controls":
        from lpwd.draw import controls

        return controls.files(main)
    from lpwd.draw import pages

    return pages.outcome(main) if target == "outcome" else pages.files(main)
