"""The eager runtime: rebuilds a graph from ``graph.json`` and runs it with torch, operator by operator.

No code is generated and none is loaded: an operator is looked up by name in an allow-list (``operators``), its
arguments are plain data, and a segment is a flat list of calls over numbered slots (``program``). Weights are read from
the safetensors file once per process and shared by every segment (``weights``). Threads are explicit and OpenMP is
passive, because spinning threads made ResNet-18 twenty times slower beside a busy neighbour.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads OpenMP, so before torch is imported

from partitioner.runtimes.eager.engine import EagerEngine, EagerSegment, open_engine

__all__ = ["EagerEngine", "EagerSegment", "open_engine"]
