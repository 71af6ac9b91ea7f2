"""What can be written as a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradiometer.report.numbers import AsJson

if TYPE_CHECKING:
    from gradiometer.report.page import Page

__all__ = ["Reported"]


class Reported(AsJson):
    """A result that has a page."""

    def save_html(
        self, path: str | os.PathLike[str], *, title: str = "", facts: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Write the report, one file without references to others.

        Parameters
        ----------
        path : path
        title : str
            Default: the shape of the network.
        facts : sequence of (str, str)
            More lines for "how it was measured", of the data for example.

        Raises
        ------
        OSError
            If the file cannot be written; what was there stays as it was.
        """
        self._page(title, facts).save(path)

    def _page(self, title: str, facts: Sequence[tuple[str, str]]) -> Page:
        raise NotImplementedError
