"""The search spaces that Vitruvius brings; importing this registers them."""

from vitruvius.generator.spaces.darts import DARTS
from vitruvius.generator.spaces.nasbench101 import NASBench101
from vitruvius.generator.spaces.nasbench201 import NASBench201
from vitruvius.generator.spaces.nasbench_graph import NASBenchGraph
from vitruvius.generator.spaces.transnasbench101 import TransNASBench101Micro

__all__ = ["DARTS", "NASBench101", "NASBench201", "NASBenchGraph", "TransNASBench101Micro"]
