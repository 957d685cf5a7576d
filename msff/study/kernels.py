"""The kernels that execute pages. Where processes can be forked, one that has imported what pages need is forked."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from msff.environment import own_settings

PROVISIONER = "msff-forked"
INLINE = "module://matplotlib_inline.backend_inline"
IMPORTED = (
    "timm", "msff.report.ablation_figures", "msff.report.contexts", "msff.report.conventions", "msff.report.notebook",
    "msff.report.robustness", "msff.report.teaching", "msff.study.train", "ipykernel.kernelapp",
)  # fmt: skip
"""What most pages import; a page imports the rest itself. timm's progress bars complain after IPython is imported."""


class KernelManager(AsyncKernelManager):
    """Ends a kernel by the shutdown message alone.

    Jupyter's own manager sends an interrupt first. A kernel that has replied to the last cell, but is still tidying up
    after it, reports that as an error between the lines of progress. One that does not end is killed all the same.
    """

    async def _async_interrupt_kernel(self) -> None:
        if not self.shutting_down:
            await super()._async_interrupt_kernel()


class ForkedProvisioner(LocalProvisioner):
    """Starts Python kernels without their imports, which take seconds: registered with Jupyter as ``msff-forked``.

    macOS's frameworks do not survive a fork: there, as on Windows, kernels start as usual.
    """

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        if sys.platform != "linux":
            return await super().launch_kernel(cmd, **kwargs)
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        process = _server().Process(target=_be_kernel, args=(arguments, kwargs.get("cwd"), kwargs["env"]))
        process.start()
        self.process, self.pid, self.pgid = _Forked(process), process.pid, process.pid
        return self.connection_info


@cache
def _server() -> ForkServerContext:
    """Return the context whose processes are forked from one that holds ``IMPORTED``; it starts with the first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    with own_settings():
        forkserver.ensure_running()
    return context


def _be_kernel(arguments: list[str], folder: str | None, environment: dict[str, str]) -> None:
    """Become an IPython kernel, in this process, which ends with the one that started it."""
    import matplotlib
    from ipykernel.kernelapp import launch_new_instance

    matplotlib.rcParams["backend"] = INLINE  # ipykernel asks for it by a variable that is read at the import
    os.setsid()
    os.chdir(folder or os.curdir)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Any parent, here the server, which lives as long as its kernels, keeps ipykernel from printing its address.
    launch_new_instance([*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


class _Forked:
    """What the provisioner calls of a `subprocess.Popen`, for a process of multiprocessing."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess):
        self.pid, self._process = process.pid, process

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)
