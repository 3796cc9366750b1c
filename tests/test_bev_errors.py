"""Packages that are imported only when they are needed: what is missing is named with the command that brings it."""

import ctypes
import importlib
import sys
from types import ModuleType

import pytest

from bev import errors
from bev.errors import UserError, require


def test_a_module_is_imported_when_it_is_required() -> None:
    assert require("json") is sys.modules["json"]
    assert require("json.decoder", "view") is sys.modules["json.decoder"]
    assert hasattr(require("open3d"), "t")


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        ("no_such_module", None, "pip install 'gpt4scene'"),
        ("no_such_module.inner", "view", "pip install 'gpt4scene[view]'"),
    ],
)
def test_a_missing_package_is_named_with_its_install_command(module: str, extra: str | None, command: str) -> None:
    with pytest.raises(UserError, match=r"^no_such_module is not installed: [^\n]*$") as error:
        require(module, extra)
    assert command in str(error.value)


def test_a_package_that_lacks_one_of_its_own_requirements_names_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'inner'", name="inner")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(UserError, match="inner is not installed"):
        require("outer")


@pytest.mark.parametrize(
    ("library", "package"),
    [
        ("libGL.so.1", "libgl1"),
        ("libEGL.so.1", "libegl1"),
        ("libX11.so.6", "libx11-6"),
        ("libgomp.so.1", "libgomp1"),
        ("libusb-1.0.so.0", "libusb-1.0-0"),
        ("libgthread-2.0.so.0", "libglib2.0-0"),
    ],
)
def test_a_missing_system_library_is_named_with_its_debian_package(
    monkeypatch: pytest.MonkeyPatch, library: str, package: str
) -> None:
    def fail(name: str) -> ModuleType:
        raise ImportError(f"{library}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        require("cv2")
    assert str(error.value) == f"cv2 needs the system library {library}: run `apt-get install {package}`"


@pytest.mark.parametrize(
    "message", ["libweird.so.3: cannot open shared object file", "cannot import name 'x' from 'y'\n  (y.py)"]
)
def test_any_other_import_failure_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    def fail(name: str) -> ModuleType:
        raise ImportError(message)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(UserError, match=r"^cv2 does not import: [^\n]*$") as error:
        require("cv2")
    assert message.split("\n")[0] in str(error.value)


def test_a_fault_inside_a_module_is_not_taken_for_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise ValueError("a bug")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ValueError, match="a bug"):
        require("json")


def test_an_interruption_while_importing_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> ModuleType:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(KeyboardInterrupt):
        require("cv2")


def test_open3d_gets_libusb_from_its_wheel_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(name: str, mode: int = 0) -> object:
        if name == "libusb-1.0.so.0":
            raise OSError("libusb-1.0.so.0: cannot open shared object file")
        loaded.append((name, mode))
        return object()

    wheel = ModuleType("libusb_package")
    wheel.get_library_path = lambda: "wheel/libusb.so"  # type: ignore[attr-defined]
    monkeypatch.setattr(errors.ctypes, "CDLL", load)
    monkeypatch.setitem(sys.modules, "libusb_package", wheel)
    monkeypatch.setattr(importlib, "import_module", lambda name: sys.modules["json"])
    require("json")
    assert loaded == []
    require("open3d")
    assert loaded == [("wheel/libusb.so", ctypes.RTLD_GLOBAL)]
    # without that wheel, and with one that has no library, open3d's own import says what is missing
    wheel.get_library_path = lambda: None  # type: ignore[attr-defined]
    require("open3d")
    monkeypatch.setitem(sys.modules, "libusb_package", None)
    require("open3d.t")
    assert len(loaded) == 1
