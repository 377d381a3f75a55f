"""The tools and folders that tell of devices. The only module that runs `npu-smi` and `hccn_tool`."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import NoDevices


@dataclass(frozen=True, slots=True)
class Probe:
    """Where to look. The defaults are where Ascend's driver installs things; tests point elsewhere."""

    npu_smi: str = "npu-smi"
    hccn_tool: str = "hccn_tool"
    hccn_conf: Path = Path("/etc/hccn.conf")
    dev_dir: Path = Path("/dev")
    proc_dir: Path = Path("/proc")
    pci_dir: Path = Path("/sys/bus/pci/devices")
    timeout_s: float = 20.0
    search: tuple[str, ...] = field(
        default=("/usr/local/sbin", "/usr/local/bin", "/usr/local/Ascend/driver/tools"), repr=False
    )

    def has(self, tool: str) -> bool:
        """Whether a tool is installed."""
        return self._program(tool) is not None

    def _program(self, tool: str) -> str | None:
        return shutil.which(tool, path=os.pathsep.join([os.environ.get("PATH", ""), *self.search]))

    def run(self, tool: str, *arguments: str) -> str:
        """What a tool prints. Raises NoDevices when it is missing, fails, or hangs."""
        program = self._program(tool)
        command = " ".join([tool, *arguments])
        if program is None:
            hint = "Is this an Ascend machine? In a container, mount the driver's tools from the host."
            raise NoDevices(f"{tool} is not installed", where=command, hint=hint)
        try:
            done = subprocess.run(
                [program, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout_s,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            hint = "The driver does not answer. Look at `dmesg`; a restart of the machine may be needed."
            raise NoDevices(f"no answer within {self.timeout_s:g} s", where=command, hint=hint) from None
        except OSError as error:
            raise NoDevices(f"can't be started: {error.strerror}", where=command) from None
        if done.returncode != 0:
            text = (done.stderr.strip() or done.stdout.strip()).splitlines()
            detail = f": {text[-1].strip()}" if text else ""
            raise NoDevices(f"ended with code {done.returncode}{detail}", where=command)
        return done.stdout
