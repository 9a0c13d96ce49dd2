"""Which machine this is, for the record that goes with every measurement."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import resource
import sys
from pathlib import Path

from partitioner.profile import DeviceInfo, RuntimeRecord
from partitioner.runtimes import RuntimeInfo


def device_info(device: str) -> DeviceInfo:
    """Host name, architecture, processor and, where ``device`` is a GPU, its name."""
    return DeviceInfo(
        name=platform.node(),
        machine=platform.machine(),
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        accelerator=_accelerator(device),
    )


def runtime_record(info: RuntimeInfo) -> RuntimeRecord:
    """The runtime as a profile records it."""
    versions = {**info.versions, "python": platform.python_version()}
    return RuntimeRecord(name=info.name, device=info.device, threads=info.threads, versions=versions)


def peak_rss_bytes() -> int:
    """Most memory this process has had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back_memory() -> None:
    """Give what is free back to the system; glibc keeps it (350 MB of MobileNetV2's cuts, where 150 are in use)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _cpu_name() -> str:
    """Model name of the processor; boards without one in ``/proc/cpuinfo`` name themselves in the device tree."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, name = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return name.strip()
    except OSError:
        pass
    try:
        return Path("/proc/device-tree/model").read_text().strip("\0\n ")
    except OSError:
        return platform.processor() or platform.machine()


def _accelerator(device: str) -> str:
    torch = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None:
        return ""
    return str(torch.cuda.get_device_name(device))
