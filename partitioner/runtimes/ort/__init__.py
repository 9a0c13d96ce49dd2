"""ONNX Runtime: runs segments as parts of the bundle's ``model.onnx``, without torch.

The file is the whole graph with our value names (``onnxfile`` cuts parts out of it), its weights are references into
``weights.safetensors`` (``sessions`` has them mapped). A segment first runs as a chain of blocks between candidate cuts
(``blocks``), which are shared by all segments, so moving the cut builds next to nothing; one that has run a few times
is fused to a single session by a thread in the background (``segment``).
"""

from partitioner.runtimes.ort.engine import OrtEngine, open_engine

__all__ = ["OrtEngine", "open_engine"]
