"""What a user gets to read when something is wrong, and how optional packages are imported."""

import ctypes
import importlib
import re
from typing import Any


class UserError(Exception):
    """Input or environment that the user can mend; one line that says what, where and how."""


_DEBIAN_PACKAGE = {
    "libGL": "libgl1",
    "libEGL": "libegl1",
    "libX11": "libx11-6",
    "libgomp": "libgomp1",
    "libusb-1.0": "libusb-1.0-0",
    "libgthread-2.0": "libglib2.0-0",
}


def require(module: str, extra: str | None = None) -> Any:
    """Import `module` now, or say which install command brings it.

    Args:
        module: import name, `open3d` or `a.b.c`.
        extra: the extra of this distribution that holds it; None for the core.

    Raises:
        UserError: the module, or a system library that it needs, is missing.
    """
    try:
        if module.split(".")[0] == "open3d":
            _load_libusb()
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        wanted = f"gpt4scene[{extra}]" if extra else "gpt4scene"
        raise UserError(f"{error.name} is not installed: run `pip install '{wanted}'`") from error
    except ImportError as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # Ctrl-C, which compiled modules report as a failure of theirs
        raise UserError(_missing_library(module, str(error))) from error


def _load_libusb() -> None:
    """Open3D links against libusb, which a bare Debian lacks; the wheel `libusb-package` carries it."""
    try:
        ctypes.CDLL("libusb-1.0.so.0", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        try:
            import libusb_package
        except ModuleNotFoundError:
            return  # not in this platform's requirements; open3d's own import error then names the library
        path = libusb_package.get_library_path()
        if path is not None:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def _missing_library(module: str, message: str) -> str:
    message = " ".join(message.split())
    found = re.search(r"(lib[\w.+-]+?)\.so", message)
    package = _DEBIAN_PACKAGE.get(found.group(1)) if found else None
    if package:
        return f"{module} needs the system library {message.split(':')[0]}: run `apt-get install {package}`"
    return f"{module} does not import: {message}"
