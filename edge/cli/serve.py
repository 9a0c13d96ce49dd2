"""``cleft-edge serve``: answer applications over the Open Inference Protocol until told to stop.

SIGTERM and SIGINT drain: probes say not ready, nothing more is taken, requests under way are answered, then the process
ends. A second signal ends it at once.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edge.cli.settings import add_request_arguments, add_session_arguments, clouds_of, progress_bars, session_of
from partitioner.cli.arguments import duration_s, port, positive_int
from partitioner.cli.corelog import handshakes_logged
from partitioner.cli.models import MODEL_HELP, add_packing_arguments, print_notes, request_of
from partitioner.cli.security import add_server_security_arguments, server_security_of

if TYPE_CHECKING:
    from edge.daemon import DaemonConfig, Entry
    from edge.session import Session
    from partitioner.bundle import Bundle

CONFIG = "edge"
HELP = "answer applications over the Open Inference Protocol (KServe, Triton), split where it pays"
EXAMPLES = """\
examples:
  cleft-edge serve --model resnet18.bundle --cloud 10.0.0.5:50051 --tls
  cleft-edge serve --model digits torchvision:resnet18 --cloud 10.0.0.5:50051,10.0.0.6:50051 --tls --deadline 500ms
  cleft-edge serve --config edge.toml

An unmodified client then asks: tritonclient.grpc.InferenceServerClient("localhost:8001").infer("resnet18", [...]).
"""
SCHEMA = "cleft.edge-serve/1"
_SECURITY_PREFIX = "listen-"
_MIB = 1024 * 1024
_MOST_MESSAGE_MIB = 1024
_MOST_REQUESTS = 1024
_LOOK_S = 0.5
"""How often is looked whether a signal came."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--model", action="extend", nargs="+", required=True, metavar="MODEL", help=f"one or several of: {MODEL_HELP}"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=port, default=8001, help="port; 0 takes a free one (default: 8001)")
    add_session_arguments(parser, without_cloud="every request is answered on this device")
    add_request_arguments(parser, depth=4)
    parser.add_argument(
        "--max-requests",
        type=_max_requests,
        default=32,
        metavar="N",
        help="requests admitted at a time, under way or waiting; one more is refused (default: 32)",
    )
    parser.add_argument(
        "--max-message-mib", type=_message_mib, default=64, metavar="N", help="largest request or answer (default: 64)"
    )
    parser.add_argument(
        "--grace", type=duration_s, default=10.0, metavar="TIME", help="time to drain when stopping (default: 10s)"
    )
    parser.add_argument(
        "--report-every", type=duration_s, default=60.0, metavar="TIME", help="log what was counted (default: 60s)"
    )
    add_server_security_arguments(parser, prefix=_SECURITY_PREFIX)
    parser.add_argument("--json", action="store_true", help=f"print the ready line as JSON (schema {SCHEMA})")
    add_packing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    with handshakes_logged() if args.listen_tls_cert is not None else contextlib.nullcontext():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from edge.daemon import Daemon
    from partitioner.cli.output import warn
    from partitioner.cli.shell import version
    from partitioner.errors import UsageError

    security = server_security_of(args, prefix=_SECURITY_PREFIX)
    if warning := security.check(args.host, is_plaintext_allowed=args.insecure_bind):
        warn(warning)
    if not clouds_of(args):
        if args.cut not in ("auto", "local"):
            raise UsageError(f"--cut {args.cut} takes a worker: --cloud HOST:PORT")
        args.cut = "local"
    daemon = Daemon(_config(args), version=version(), security=security)
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda number, frame: _interrupt(stop))
    entries = [_entry(args, spec) for spec in args.model]
    bound = daemon.start(entries)
    is_clean = False
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: _on_signal(stop, number))
        _announce(args.host, bound, entries, daemon.reasons, as_json=args.json)
        while not stop.wait(_LOOK_S):  # a signal that another thread was interrupted by wakes nobody
            pass
    finally:
        is_clean = daemon.stop()
    if not is_clean:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # a request that will not end would hold the interpreter past the grace
    return 0


def _interrupt(stop: threading.Event) -> None:
    """End while models are loaded; where what was running swallows the exception, as callbacks do, ``stop`` tells."""
    stop.set()
    raise KeyboardInterrupt


def _on_signal(stop: threading.Event, number: int) -> None:
    """The first signal drains; the default handling comes back for the second."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    logging.getLogger(__name__).info("%s: draining", signal.Signals(number).name)
    stop.set()


def _config(args: argparse.Namespace) -> DaemonConfig:
    from edge.daemon import DaemonConfig

    return DaemonConfig(
        host=args.host,
        port=args.port,
        max_requests=args.max_requests,
        max_message_bytes=args.max_message_mib * _MIB,
        grace_s=args.grace,
        report_every_s=args.report_every,
    )


def _entry(args: argparse.Namespace, spec: str) -> Entry:
    """One model by the name of its bundle; where there is none, by what the user called it."""
    from edge.daemon import Entry
    from partitioner.errors import CleftError
    from partitioner.zoo import resolve_request

    try:
        bundle = resolve_request(request_of(args, spec))
    except CleftError as error:
        reason = error

        def fail() -> Session:
            raise reason

        return Entry(name=spec, bundle=None, open_session=fail)
    print_notes(bundle)
    return Entry(name=bundle.name, bundle=bundle, open_session=lambda: _open(args, bundle))


def _open(args: argparse.Namespace, bundle: Bundle) -> Session:
    """A session that has measured and run what it can, so that the first request pays for none of it."""
    from edge.sources.random import random_input
    from partitioner.cli.output import warn
    from partitioner.errors import CleftError

    is_starting = True

    def on_progress(what: str, share: float) -> None:
        if is_starting:
            show(what, share)

    with progress_bars() as show:
        session = session_of(args, bundle, on_progress, cut=args.cut, codec=args.codec, start_alone=True).open()
        try:
            session.prepare()
            session.select(random_input(bundle.graph, seed=0))
        except CleftError as error:  # requests will tell, those that this device cannot answer alone
            warn(f"{bundle.name}: {error}")
        except BaseException:
            session.close(is_abrupt=True)
            raise
        is_starting = False
    return session


def _announce(host: str, bound: int, entries: Sequence[Entry], reasons: Mapping[str, str], *, as_json: bool) -> None:
    from edge.daemon import address
    from partitioner.cli.output import print_json, warn

    models = [
        {
            "name": entry.name,
            "digest": "" if entry.bundle is None else entry.bundle.digest,
            "ready": entry.name not in reasons,
            "reason": reasons.get(entry.name, ""),
        }
        for entry in entries
    ]
    if as_json:
        print_json({"schema": SCHEMA, "host": host, "port": bound, "models": models}, indent=None)
    else:
        names = ", ".join(entry.name for entry in entries if entry.name not in reasons)
        print(f"cleft-edge: serving {names} on {address(host, bound)}")
    sys.stdout.flush()
    for name, reason in reasons.items():
        warn(f"{name} is not ready: {reason}")


def _max_requests(text: str) -> int:
    count = positive_int(text)
    if count > _MOST_REQUESTS:
        raise argparse.ArgumentTypeError(f"{text} is over {_MOST_REQUESTS}: each takes a thread")
    return count


def _message_mib(text: str) -> int:
    size_mib = positive_int(text)
    if size_mib > _MOST_MESSAGE_MIB:
        raise argparse.ArgumentTypeError(f"{text} is over {_MOST_MESSAGE_MIB} MiB")
    return size_mib
