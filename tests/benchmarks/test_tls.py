"""What TLS costs on the way: the same frames to the same worker process's code, in plain text and encrypted, in turns.

The model does next to nothing, so what is timed is packing, chunks and the wire, up and down. ``CLEFT_BENCH=full``
takes enough rounds for the printed figures.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from loopback import live_worker, plan_for

from edge.client import Client
from protos.security import ClientSecurity, ServerSecurity
from tests.certificates import Authority, put

IS_FULL = os.environ.get("CLEFT_BENCH") == "full"
ROUNDS = 60 if IS_FULL else 3
SIZES_BYTES = (32 * 1024, 1024 * 1024, 4 * 1024 * 1024) if IS_FULL else (32 * 1024,)
MB = 1e6


@pytest.mark.benchmark
def test_what_tls_adds_to_a_frame(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("worker")
    tokens = put(tmp_path / "tokens", "token")
    encrypted = ServerSecurity(cert_file=pair.cert, key_file=pair.key, token_file=tokens)
    trusting = ClientSecurity(is_tls=True, ca_file=authority.file, token_file=tokens)
    with (
        live_worker() as open_worker,
        live_worker(security=encrypted) as closed_worker,
        Client.dial(open_worker.target) as in_plain_text,
        Client.dial(closed_worker.target, security=trusting) as with_tls,
    ):
        for client in (in_plain_text, with_tls):
            client.propose(plan_for())
        for size_bytes in SIZES_BYTES:
            x = np.arange(size_bytes // 4, dtype=np.float32).reshape(-1, 8)
            plain_s, tls_s = [], []
            for _ in range(ROUNDS):
                plain_s.append(timed(in_plain_text, x))
                tls_s.append(timed(with_tls, x))
            plain, tls = statistics.median(plain_s), statistics.median(tls_s)
            moved_mb = 2 * size_bytes / MB
            print(
                f"\n{size_bytes / MB:5.2f} MB up and down: {plain * 1e3:6.2f} ms in plain text, {tls * 1e3:6.2f} ms "
                f"with TLS: {(tls - plain) * 1e3 / moved_mb:+.2f} ms/MB ({tls / plain:.2f}x)",
                end="",
            )
            if IS_FULL:
                assert tls < 2 * plain + 0.010


def timed(client: Client, x: np.ndarray) -> float:  # type: ignore[type-arg]
    """Seconds of one frame, whose answer is right."""
    began_s = time.perf_counter()
    reply = client.run(plan_for().plan_id, 1, {"x": x}, {"x": "none"}, deadline_s=60.0)
    took_s = time.perf_counter() - began_s
    np.testing.assert_array_equal(reply.tensors["y"], x * 2)
    return took_s
