"""The house: which way imports point, what they may weigh, and what the distribution holds."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bev", "markers", "gpt4scene", "train")
"""In the order in which data flows: each may import those before it."""

CORE_AT_TOP = {"numpy", "cv2"}
"""Third-party modules that may be imported at a module's top; all else is imported where it is used."""
ALSO_AT_TOP = {"gpt4scene/cli": {"tyro"}, "train": {"torch", "transformers", "peft"}}


@cache
def _files() -> dict[str, Path]:
    """Module name to file, of all four packages."""
    files = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def _imports(module: str, *, top_only: bool, for_types: bool = True) -> list[tuple[str, int]]:
    """Absolute names that a module imports, and the lines; those under `if TYPE_CHECKING` with `for_types`."""
    path = _files()[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in _at_top(tree, for_types=for_types) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, path, node)
            # `from bev.readers import tum` is an import of the file tum.py
            inner = [f"{base}.{alias.name}" for alias in node.names]
            found += [(name if name in _files() else base, node.lineno) for name in inner]
    return found


def _absolute(module: str, path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    parts = package[: len(package) - node.level + 1]
    return ".".join(parts + ([node.module] if node.module else []))


def _at_top(tree: ast.Module, *, for_types: bool) -> list[ast.AST]:
    """What runs when a module is imported: everything outside of functions."""
    found, waiting = [], list(tree.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        only_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if only_for_types and not for_types:
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def test_the_house_is_found() -> None:
    assert {name.split(".")[0] for name in _files()} == set(PACKAGES)
    assert "bev.camera" in _files() and "gpt4scene.cli.main" in _files()
    assert "bev.errors" in [name for name, _ in _imports("bev.surface", top_only=True)]
    assert "bev.readers.tum" in [name for name, _ in _imports("bev.readers", top_only=True)]
    assert "scipy.spatial" in [name for name, _ in _imports("bev.surface", top_only=False)]


def test_imports_point_from_right_to_left_only() -> None:
    wrong = []
    for module, path in _files().items():
        allowed = PACKAGES[: PACKAGES.index(module.split(".")[0]) + 1]
        for name, line in _imports(module, top_only=False):
            top = name.split(".")[0]
            if top in PACKAGES and top not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_no_file_imports_itself_in_a_circle() -> None:
    arrows = {m: sorted({n for n, _ in _imports(m, top_only=True) if n in _files() and n != m}) for m in _files()}
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for following in arrows[module]:
                follow(following, (*way, module))
            done.add(module)

    for module in arrows:
        follow(module, ())


def test_heavy_modules_are_imported_where_they_are_used() -> None:
    wrong = []
    for module, path in _files().items():
        place = path.relative_to(ROOT).as_posix()
        allowed = set(sys.stdlib_module_names) | set(PACKAGES) | CORE_AT_TOP
        allowed |= {name for folder, names in ALSO_AT_TOP.items() if place.startswith(folder) for name in names}
        for name, line in _imports(module, top_only=True, for_types=False):
            if name.split(".")[0] not in allowed:
                wrong.append(f"{place}:{line} imports {name} at its top")
    assert not wrong


def test_only_bev_errors_says_how_open3d_is_imported() -> None:
    wrong = []
    for module, path in _files().items():
        for name, line in _imports(module, top_only=False):
            if name.split(".")[0] == "open3d":
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports open3d without `require`")
    assert not wrong


def _in_fresh_process(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_import_gpt4scene_is_light() -> None:
    _in_fresh_process(
        "import sys, gpt4scene, markers, bev\n"
        "heavy = 'torch open3d transformers supervision ultralytics scipy matplotlib PIL rerun tyro tqdm'.split()\n"
        "loaded = [name for name in heavy if name in sys.modules]\n"
        "assert not loaded, loaded"
    )


def test_the_command_line_starts_without_what_it_may_need_later() -> None:
    _in_fresh_process(
        "import sys\n"
        "from gpt4scene.cli.main import main\n"
        "try: main(['prepare', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "loaded = [name for name in ('torch', 'open3d', 'supervision', 'scipy', 'matplotlib') if name in sys.modules]\n"
        "assert not loaded, loaded"
    )


def test_train_imports_where_the_machine_that_trains_lacks_the_rest() -> None:
    modules = sorted(name for name in _files() if name.split(".")[0] == "train")
    _in_fresh_process(
        "import sys, importlib\n"
        "for name in 'open3d ultralytics pycolmap supervision tyro'.split(): sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)"
    )


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_in_the_distribution() -> None:
    there = {".".join(path.parent.relative_to(ROOT).parts) for p in PACKAGES for path in (ROOT / p).rglob("*.py")}
    assert set(_project()["tool"]["setuptools"]["packages"]) == there
    for folder in there:
        assert (ROOT / folder.replace(".", "/") / "__init__.py").is_file(), f"{folder} has no __init__.py"


def test_every_package_says_that_it_is_typed() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in _project()["tool"]["setuptools"]["package-data"]["*"]


def test_tests_are_flat_and_shadow_no_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_the_console_script_exists() -> None:
    for target in _project()["project"]["scripts"].values():
        module, function = target.split(":")
        tree = ast.parse(_files()[module].read_text(encoding="utf-8"))
        assert function in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_are_names_and_exact_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = []
    for line in lines:
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*", line), line
        pinned.append(line.split("==")[0])
    assert len(set(pinned)) == len(pinned)


def test_all_that_is_asked_for_is_pinned() -> None:
    project = _project()["project"]
    pinned = {_normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    asked = [*project["dependencies"], *(r for rows in project["optional-dependencies"].values() for r in rows)]
    names = {_normal(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in asked} - {"gpt4scene"}
    assert names - pinned == set()


@cache
def _tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_speaks_of_one_machine() -> None:
    # pieces, so that this file does not hold what it looks for
    machine = re.compile(r"(?<![\w./-])/(?:work|home|root|Users|workspace)/\w|[A-Z]:\\" + r"\\?Users")
    host = re.compile("(?:index-" + "url|pypi\\." + r"org|files\.python" + "hosted|simple/ ?$|trusted-" + "host)")
    wrong = []
    for path in _tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(lines, 1):
            if machine.search(line) or host.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}")
    assert not wrong


def test_no_capture_or_generated_file_is_tracked() -> None:
    captures = [path for path in _tracked() if re.search(r"\.(depth|color)\.(png|jpg)$|\.pose\.txt$|\.rrd$", path.name)]
    large = [path for path in _tracked() if path.stat().st_size > 2_000_000]
    assert not captures and not large


@pytest.mark.parametrize("package", ["bev", "gpt4scene"])
def test_names_that_are_imported_on_first_use_exist_and_are_no_modules(package: str) -> None:
    """A submodule of the same name would take the name's place as soon as it is imported."""
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(module._HOMES)
    for name in module.__all__:
        assert not isinstance(getattr(module, name), type(module)), name
        assert not (ROOT / package / f"{name}.py").exists() and not (ROOT / package / name).is_dir()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.nonsense  # noqa: B018
