"""Results as standard JSON."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["AsJson", "json_text"]


class AsJson:
    """A result that has its numbers in `to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries and lists of plain numbers."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Standard JSON: a number that is not finite becomes the string "nan", "inf" or "-inf"."""
        return json_text(self.to_dict())


def json_text(value: Any) -> str:
    """Standard JSON, indented.

    >>> print(json_text({"factor": math.nan, "steps": (1, 2)}).replace("\\n", ""))
    {  "factor": "nan",  "steps": [    1,    2  ]}
    """
    return json.dumps(_named(value), indent=2, allow_nan=False)


def _named(value: Any) -> Any:
    """`value` with every float that is not finite replaced by its name."""
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
