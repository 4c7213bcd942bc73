"""The EU's list of national levels: the official label of each framework and each level.

The list is part of the European Learning Model. The file next to this module names its origin and
its day. The list has labels in English alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

EU_LEVELS_BASE_URI: Final = "http://data.europa.eu/snb/qdr/"
_DATA: Final[dict[str, Any]] = json.loads(
    Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
)
EU_LEVELS_DAY: Final[str] = _DATA["published"]
"""The day on which this edition of the list was published."""
FRAMEWORK_LABELS: Final[dict[str, str]] = {
    EU_LEVELS_BASE_URI + concept: label for concept, label in _DATA["frameworks"].items()
}
"""The label of each national framework by its URI."""
LEVEL_LABELS: Final[dict[str, str]] = {
    EU_LEVELS_BASE_URI + concept: label for concept, label in _DATA["levels"].items()
}
"""The label of each national level by its URI."""
