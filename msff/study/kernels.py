"""The kernels that execute pages."""

from jupyter_client.manager import AsyncKernelManager


class KernelManager(AsyncKernelManager):
    """Ends a kernel by the shutdown message alone.

    Jupyter's own manager sends an interrupt first. A kernel that has replied to the last cell, but is still tidying up
    after it, reports that as an error between the lines of progress. One that does not end is killed all the same.
    """

    async def _async_interrupt_kernel(self) -> None:
        if not self.shutting_down:
            await super()._async_interrupt_kernel()
