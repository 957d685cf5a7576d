"""Kernels that are forked from a process with the imports done."""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from multiprocessing import forkserver
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel
from jupyter_client.provisioning import KernelProvisionerFactory

from msff.study import kernels
from msff.study.kernels import PROVISIONER, _server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")
FEW = ("colorsys", "ipykernel.kernelapp")
START = """
from msff.study import kernels
kernels.IMPORTED = ("ipykernel.kernelapp",)
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="python3")
manager.start_kernel()
print(manager.provisioner.pid, flush=True)
input()
"""


@pytest.fixture(scope="module", autouse=True)
def new_server():
    """A server of its own with few imports: other tests may have started one, and the real imports take seconds."""
    forkserver._forkserver._stop()
    _server.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "IMPORTED", FEW)
        yield
    forkserver._forkserver._stop()
    _server.cache_clear()


@pytest.fixture(autouse=True)
def forked(monkeypatch):
    monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", PROVISIONER)
    KernelProvisionerFactory.clear_instance()  # it has read the variable
    yield
    KernelProvisionerFactory.clear_instance()


def value(client, expression):
    reply = client.execute_interactive("", user_expressions={"x": expression}, timeout=60, output_hook=lambda _: None)
    return reply["content"]["user_expressions"]["x"]["data"]["text/plain"]


@pytest.mark.parametrize("name", kernels.IMPORTED)
def test_what_is_imported_before_a_fork_exists(name):
    assert find_spec(name) is not None


def test_kernels_have_the_imports_and_share_nothing_else(tmp_path):
    (one, here), (other, there) = (start_new_kernel(cwd=str(tmp_path)) for _ in range(2))
    try:
        assert value(here, f"[m for m in {FEW} if m not in __import__('sys').modules]") == "[]"
        here.execute_interactive("x = 1", timeout=60)
        assert value(there, "'x' in globals()") == "False"
        assert value(here, "__import__('os').getcwd()") == repr(str(tmp_path))
        assert "inline" in value(here, "__import__('matplotlib').get_backend()")
        assert value(here, "__import__('os').getpid()") != value(there, "__import__('os').getpid()")
    finally:
        for manager, client in ((one, here), (other, there)):
            client.stop_channels()
            manager.shutdown_kernel()
            assert not manager.is_alive()
    assert "MPLBACKEND" not in os.environ


def test_a_cell_can_be_interrupted_and_a_kernel_killed():
    manager, client = start_new_kernel()
    try:
        message = client.execute("import time; time.sleep(60)")
        time.sleep(1)
        manager.interrupt_kernel()
        replies = iter(lambda: client.get_shell_msg(timeout=20), None)  # the first may be to a question before
        reply = next(reply for reply in replies if reply["parent_header"]["msg_id"] == message)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not manager.is_alive()


def test_figures_are_pictures_also_of_a_server_with_other_imports():
    """Matplotlib chooses its backend when it is imported; this server does so where nothing names one."""
    forkserver._forkserver._stop()
    forkserver.set_forkserver_preload(["matplotlib.pyplot"])
    manager, client = start_new_kernel()
    try:
        client.execute_interactive("from matplotlib import pyplot as plt; plt.plot([1])", output_hook=lambda _: None)
        assert "inline" in value(client, "plt.get_backend()")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        forkserver._forkserver._stop()
        _server.cache_clear()


def test_a_kernel_ends_with_the_process_that_started_it():
    parent = subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    kernel = Path("/proc", parent.stdout.readline().strip(), "cmdline")
    assert kernel.read_bytes()
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while kernel.exists() and kernel.read_bytes():  # empty for one that has ended and is not collected
        assert time.monotonic() < deadline, "the kernel lives on"
        time.sleep(0.1)
