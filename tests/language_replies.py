"""What a language model says in the tests of the reasoner."""

from __future__ import annotations

import json
from typing import Any


def item(
    predicate: str, direction: str = "better", sentence: str = "This one helps a lot."
) -> dict[str, Any]:
    return {"sentence": sentence, "predicate": predicate, "direction": direction, "expected": 0.2}


def reply(*items: dict[str, Any]) -> str:
    return json.dumps({"analysis": "x", "principles": list(items)})


GOOD = reply(item("skip >= 2"), item("op(0->1) = none", "worse"), item("depth >= 2 and not (none > 1)"))
