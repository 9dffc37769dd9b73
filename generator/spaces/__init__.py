"""The search spaces that Vitruvius brings; importing this registers them."""

from vitruvius.generator.spaces.nasbench101 import NASBench101
from vitruvius.generator.spaces.nasbench201 import NASBench201
from vitruvius.generator.spaces.nasbench_graph import NASBenchGraph

__all__ = ["NASBench101", "NASBench201", "NASBenchGraph"]
