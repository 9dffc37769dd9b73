"""What `benchmarks/proxy.py` says of a score beside parameters and multiply-adds."""

from __future__ import annotations

import numpy as np
from test_benchmarks import benchmark_module


def test_a_score_is_held_against_size():
    proxy = benchmark_module("proxy")
    rng = np.random.default_rng(0)
    size, skill = rng.normal(size=(2, 400))
    columns = {
        "table": size + skill, "params": size, "flops": size + rng.normal(size=400),
        "score": size + skill + 0.1 * rng.normal(size=400),
    }  # fmt: skip
    found = proxy.with_intervals(columns, 200)
    assert found["score minus params"][1] > 0 and found["score minus flops"][1] > 0
    assert found["score given params"][1] > 0.9, "it says what size does not"
    columns["score"] = size + 0.1 * rng.normal(size=400)
    found = proxy.with_intervals(columns, 200)
    low, high = found["score given params"][1:]
    assert low < 0 < high, "size again, and nothing beside"
    assert found["score minus params"][2] < 0.02
