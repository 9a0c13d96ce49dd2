"""``cleft-cloud serve``: listen, say where in one line, and serve until told to stop.

SIGTERM and SIGINT drain: clients are told to move on, frames in flight are answered, then the process ends. A second
signal ends it at once, and so does the first while the models are loaded: nothing was promised to anybody yet.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from partitioner.cli.arguments import duration_s, host, port, positive_int
from partitioner.cli.corelog import handshakes_logged
from partitioner.cli.models import MODEL_HELP, add_packing_arguments, print_notes, request_of
from partitioner.cli.runtime import add_runtime_argument
from partitioner.cli.security import add_server_security_arguments, server_security_of

if TYPE_CHECKING:
    from cloud.config import Config
    from cloud.server import Server
    from cloud.store import Broken, ServedBundle
    from partitioner.bundle import Bundle
    from protos.security import ServerSecurity
    from protos.tensors import Limits

CONFIG = "cloud"
HELP = "serve models to devices"
EXAMPLES = """examples:
  cleft-cloud serve --model digits.bundle
  cleft-cloud serve --model torchvision:resnet18 torchvision:alexnet --port 50051
  cleft-cloud serve --model digits.bundle --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --token-file tokens
  cleft-cloud serve --config cloud.toml --log-format json
"""
_LOG = logging.getLogger(__name__)
_MIB = 1024 * 1024
_PARENT_POLL_S = 0.5
_MOST_FRAME_MIB = 65536


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--model", action="extend", nargs="+", required=True, metavar="MODEL", help=f"one or several of: {MODEL_HELP}"
    )
    parser.add_argument(
        "--host", type=host, default="127.0.0.1", help="address to listen on (default: this machine alone)"
    )
    parser.add_argument("--port", type=port, default=50051, help="port; 0 takes a free one (default: 50051)")
    parser.add_argument("--name", default="", help="what the worker calls itself (default: the machine's name)")
    parser.add_argument("--threads", type=positive_int, help="threads of one operator (default: every core)")
    add_runtime_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--max-frame-mib", type=_frame_mib, default=256, metavar="N", help="largest frame taken (default: 256)"
    )
    parser.add_argument(
        "--max-sessions", type=positive_int, default=2048, metavar="N", help="most sessions at a time (default: 2048)"
    )
    parser.add_argument(
        "--max-memory-mib",
        type=positive_int,
        default=4096,
        metavar="N",
        help="most memory for frames of all sessions together (default: 4096)",
    )
    parser.add_argument(
        "--max-batch", type=positive_int, default=16, metavar="N", help="most frames in one run; 1: never (default: 16)"
    )
    parser.add_argument(
        "--batch-wait",
        type=duration_s,
        default=0.0,
        metavar="TIME",
        help="how long frames of a busy worker may wait to be run together (default: 0s)",
    )
    parser.add_argument(
        "--allow-ops", action="append", default=[], metavar="NAMESPACE", help="an operator namespace beside aten"
    )
    parser.add_argument(
        "--grace", type=duration_s, default=10.0, metavar="TIME", help="time to drain when stopping (default: 10s)"
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="stop when the process that started this one is gone"
    )
    parser.add_argument("--json", action="store_true", help="print the ready line as JSON (schema cleft.serve/1)")
    add_packing_arguments(parser)
    add_server_security_arguments(parser)


def _frame_mib(text: str) -> int:
    """A frame's size that fits a message about it."""
    size_mib = positive_int(text)
    if size_mib > _MOST_FRAME_MIB:
        raise argparse.ArgumentTypeError(f"{text} is over {_MOST_FRAME_MIB} MiB")
    return size_mib


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    parent = os.getppid()
    with handshakes_logged() if args.tls_cert is not None else contextlib.nullcontext():
        _run(args, parent=parent if args.exit_with_parent else None)
    return 0


def _run(args: argparse.Namespace, *, parent: int | None) -> None:
    from cloud.config import Config
    from protos.status import one_line

    security = server_security_of(args)
    if (warning := security.check(args.host, is_plaintext_allowed=args.insecure_bind)) is not None:
        _LOG.warning(warning)
    config = Config(
        name=one_line(args.name or _machine_name()),
        host=args.host,
        port=args.port,
        device=args.device,
        threads=args.threads or len(os.sched_getaffinity(0)),
        allow_ops=tuple(args.allow_ops),
        grace_s=args.grace,
        max_sessions=args.max_sessions,
        limits=_limits(args.max_frame_mib),
        max_session_bytes=max(1024, 4 * args.max_frame_mib) * _MIB,
        max_worker_bytes=args.max_memory_mib * _MIB,
        max_batch=args.max_batch,
        batch_wait_s=args.batch_wait,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(config, security, args, parent=parent))


async def _serve(config: Config, security: ServerSecurity, args: argparse.Namespace, *, parent: int | None) -> None:
    from cloud.server import Server
    from partitioner.bundle import Bundle
    from partitioner.runtimes import Engine

    def open_engine(bundle: ServedBundle) -> Engine:
        from partitioner.runtimes.opening import EngineOptions, choose, load

        if not isinstance(bundle, Bundle):
            raise TypeError("runtimes open bundles")
        options = EngineOptions(device=config.device, threads=config.threads, allow_ops=config.allow_ops)
        chosen = choose(bundle, runtime=args.runtime, **options)
        for line in chosen.lines(bundle.name, is_every=True):
            print(f"note: {line}", file=sys.stderr)
        return load(bundle, chosen.runtime, **options)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    watch = asyncio.create_task(_watch(parent, stop)) if parent is not None else None
    server = Server(config, open_engine=open_engine, security=security)
    loading = asyncio.create_task(_load(server, args))
    await asyncio.wait({loading, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        _LOG.info("stopped before the models were ready")
        _leave_at_once()
    bundles = loading.result()
    try:
        _announce(config.host, server.port, bundles, as_json=args.json)
        await stop.wait()
    finally:
        if watch is not None:
            watch.cancel()
        await server.stop()


async def _load(server: Server, args: argparse.Namespace) -> list[Bundle]:
    """Make the models ready; returns those that could be read."""
    bundles, broken = await asyncio.to_thread(_resolve, args)
    for bundle in bundles:
        print_notes(bundle)
    await server.start(bundles, broken=broken)
    return bundles


def _leave_at_once() -> NoReturn:
    """End the process although its threads are inside of what cannot be interrupted."""
    from partitioner.zoo.staging import abandon

    abandon()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _resolve(args: argparse.Namespace) -> tuple[list[Bundle], list[Broken]]:
    """The bundles of the models that were named; of several, those that cannot be read are told apart.

    Raises:
        CleftError: there is none.
    """
    from cloud.errors import NoModelError
    from cloud.store import Broken
    from partitioner.errors import CleftError, UsageError
    from partitioner.zoo import resolve_request

    bundles: list[Bundle] = []
    faults: list[tuple[str, CleftError]] = []
    for spec in args.model:
        try:
            bundles.append(resolve_request(request_of(args, spec)))
        except UsageError:
            raise
        except CleftError as error:
            faults.append((spec, error))
    if len(faults) == 1 and not bundles:
        raise faults[0][1]
    if faults and not bundles:
        raise NoModelError(f"none of the models can be served: {'; '.join(str(error) for _, error in faults)}")
    return bundles, [Broken(name=spec, reason=str(error)) for spec, error in faults]


def _on_signal(stop: asyncio.Event, number: signal.Signals) -> None:
    """The first signal drains; the default handling comes back for the second."""
    stop.set()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(each)
    _LOG.info("%s: draining", number.name)


async def _watch(parent: int, stop: asyncio.Event) -> None:
    """Set ``stop`` when the parent is gone. (``PR_SET_PDEATHSIG`` would fire when the starting *thread* ends.)"""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(parent)
    except (OSError, AttributeError):
        while os.getppid() == parent:
            await asyncio.sleep(_PARENT_POLL_S)
        stop.set()
        return
    gone = asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        if os.getppid() == parent:
            await gone.wait()
        stop.set()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _announce(host: str, port: int, bundles: Sequence[ServedBundle], *, as_json: bool) -> None:
    from cloud.config import address
    from partitioner.cli.output import print_json

    if as_json:
        models = [{"digest": bundle.digest, "name": bundle.name} for bundle in bundles]
        print_json({"schema": "cleft.serve/1", "host": host, "port": port, "models": models}, indent=None)
    else:
        print(f"cleft-cloud: listening on {address(host, port)}")
    sys.stdout.flush()


def _limits(max_frame_mib: int) -> Limits:
    from protos.tensors import Limits

    return Limits(max_frame_bytes=max_frame_mib * _MIB)


def _machine_name() -> str:
    import platform

    return platform.node() or "cleft-cloud"
