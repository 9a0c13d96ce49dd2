"""``cleft-cloud status``: what a worker serves and how it is doing."""

from __future__ import annotations

import argparse

from partitioner.cli.arguments import duration_s, target
from partitioner.cli.security import add_client_security_arguments, client_security_of

HELP = "ask a worker what it serves and how busy it is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("target", type=target, metavar="HOST:PORT", help="where the worker listens")
    parser.add_argument(
        "--timeout", type=duration_s, default=5.0, metavar="TIME", help="how long to wait for it (default: 5s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON (schema cleft.status/1)")
    parser.add_argument(
        "--health",
        nargs="?",
        const="",
        metavar="DIGEST",
        help="ask only whether it (or this model) serves, which needs no token; exit code 1 where it does not",
    )
    add_client_security_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the worker's status."""
    from cloud.errors import ListenError
    from partitioner.cli.output import print_json, print_table
    from protos.channel import WorkerStub, dial
    from protos.errors import Unreachable
    from protos.reach import silence_of

    security = client_security_of(args)
    channel = dial(args.target, security=security)
    stub = WorkerStub(channel, target=args.target, security=security)
    try:
        if args.health is not None:
            is_serving = stub.is_serving(args.health, timeout_s=args.timeout)
            print("serving" if is_serving else "not serving")
            return 0 if is_serving else 1
        reply = stub.status(timeout_s=args.timeout)
    except Unreachable as error:
        host, _, port = args.target.rpartition(":")
        why = silence_of(host.removeprefix("[").removesuffix("]"), int(port), security=security).reason
        raise ListenError(f"no worker at {args.target}: {why}") from error
    finally:
        channel.close()
    models = [
        {
            "digest": model.digest,
            "name": model.name,
            "ready": model.ready,
            "reason": model.reason,
            "runtime": model.runtime,
        }
        for model in reply.models
    ]
    answer: dict[str, object] = {
        "schema": "cleft.status/1",
        "worker": reply.worker,
        "protocol_version": reply.protocol_version,
        "uptime_s": reply.uptime_s,
        "draining": reply.draining,
        "sessions": reply.sessions,
        "queued_frames": reply.load.queued_frames,
        "busy_ratio": reply.load.busy_ratio,
        "job_s": reply.load.job_s,
        "frames_answered": reply.frames_answered,
        "frames_failed": reply.frames_failed,
        "counters": dict(sorted(reply.counters.items())),
        "models": models,
    }
    if args.json:
        print_json(answer)
        return 0
    state = "draining" if reply.draining else "serving" if any(model.ready for model in reply.models) else "not serving"
    print(f"{reply.worker} at {args.target}: {state}, up for {reply.uptime_s:.0f} s, {reply.sessions} sessions")
    print(
        f"frames: {reply.frames_answered} answered, {reply.frames_failed} failed, {reply.load.queued_frames} waiting; "
        f"busy {reply.load.busy_ratio:.0%}"
    )
    counted = ", ".join(f"{name} {count}" for name, count in sorted(reply.counters.items()) if count)
    print(f"counters: {counted or 'nothing yet'}")
    rows = [
        (model.name, model.digest[:12], model.runtime, "ready" if model.ready else f"not ready: {model.reason}")
        for model in reply.models
    ]
    print_table(("model", "digest", "runtime", "state"), rows, left=(0, 1, 2, 3))
    return 0
