"""What is shipped: the wheel, the public names, the cost of importing, the shape of the code."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from computing_time import seconds_of_children, within

ROOT = Path(__file__).parent.parent
ROOMS = ("agents", "generator", "knowledge", "prompts")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BIN = Path(sys.executable).parent


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository, links left out; all files where this is no git checkout."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        names = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        names = [path for pattern in patterns for path in ROOT.rglob(pattern) if ".venv" not in path.parts]
    return [path for path in names if path.is_file() and not path.is_symlink()]


def copy_of_project(folder: Path) -> Path:
    """The repository without what git ignores, links kept."""
    for path in (*tracked("*"), *(ROOT / "src/vitruvius" / room for room in ROOMS)):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    return folder


def folder_of(package: str) -> Path:
    """The folder that holds a package, by the map in pyproject.toml."""
    return ROOT / PROJECT["tool"]["setuptools"]["package-dir"][package]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of all files in the wheel."""
    out = tmp_path_factory.mktemp("wheel")
    source = copy_of_project(tmp_path_factory.mktemp("source"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", out, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_package_map_names_every_folder_with_an_init() -> None:
    expected = {"vitruvius": "src/vitruvius"}
    for top, prefix in (
        (ROOT / "src/vitruvius", "vitruvius"),
        *((ROOT / r, f"vitruvius.{r}") for r in ROOMS),
    ):
        for init in top.rglob("__init__.py"):
            inside = init.parent.relative_to(top)
            if not any((top / part).is_symlink() for part in (inside, *inside.parents)):
                name = ".".join((prefix, *inside.parts))
                expected[name] = init.parent.relative_to(ROOT).as_posix()
    tool = PROJECT["tool"]["setuptools"]
    assert tool["package-dir"] == expected
    assert sorted(tool["packages"]) == sorted(expected)


def test_links_lead_to_the_rooms() -> None:
    for room in ROOMS:
        link = ROOT / "src/vitruvius" / room
        assert os.readlink(link) == f"../../{room}"


def test_wheel_holds_exactly_our_modules(wheel: list[str]) -> None:
    modules = {
        f"{package.replace('.', '/')}/{path.name}"
        for package in PROJECT["tool"]["setuptools"]["packages"]
        for path in folder_of(package).glob("*.py")
    }
    assert {name for name in wheel if name.endswith(".py")} == modules


def test_wheel_has_one_top_level_name_beside_its_metadata(wheel: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vitruvius"}


def test_wheel_holds_the_data_that_the_code_reads(wheel: list[str]) -> None:
    assert {"vitruvius/py.typed", "vitruvius/report.html.jinja"} <= set(wheel)
    templates = {
        f"vitruvius/prompts/templates/{path.name}" for path in (ROOT / "prompts/templates").glob("*.md")
    }
    assert templates and templates <= set(wheel)


def test_source_distribution_brings_the_tests() -> None:
    lines = (ROOT / "MANIFEST.in").read_text().splitlines()
    assert {"graft tests", "graft docs"} <= set(lines)


def test_public_names_are_sorted_and_are_the_namespace() -> None:
    import vitruvius

    names = list(vitruvius.__all__)
    assert names == sorted(names)
    assert all(getattr(vitruvius, name) is not None for name in names)
    assert set(names) <= set(dir(vitruvius))
    with pytest.raises(AttributeError):
        _ = vitruvius.no_such_name  # type: ignore[attr-defined]


def test_import_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; began = time.process_time(); import vitruvius; took = time.process_time() - began; "
        "heavy = {'torch', 'transformers', 'vllm', 'chromadb', 'langchain', 'sklearn', 'pyarrow', 'sqlalchemy'}; "
        "print(took, *sorted(heavy & set(sys.modules)))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(3)]
    assert all(run.returncode == 0 for run in runs), runs[0].stderr
    assert [run.stdout.split()[1:] for run in runs] == [[], [], []]
    assert within(min(float(run.stdout.split()[0]) for run in runs), 0.3)


def test_help_is_fast() -> None:
    command = [str(BIN / "vitruvius"), "--help"]
    spent = seconds_of_children(lambda: subprocess.run(command, check=True, capture_output=True))
    assert within(spent, 0.7)


def test_a_wrong_setting_is_refused_before_anything_heavy_is_loaded() -> None:
    code = (
        "import sys; from vitruvius.config import load_settings; from vitruvius.errors import SettingsError\n"
        "try: load_settings(None, {'batch': 0})\n"
        "except SettingsError: print(*sorted({'torch', 'torch_geometric', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_a_session_shows_its_plan_before_anything_heavy_is_loaded() -> None:
    code = (
        "import sys, vitruvius.cli.run, vitruvius.agents.session, vitruvius\n"
        "vitruvius.Task('nasbench-graph/cora')\n"
        "heavy = {'torch', 'transformers', 'chromadb', 'langchain', 'sklearn', 'pandas', 'scipy.stats'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_no_file_over_400_lines_and_no_function_over_60() -> None:
    found: list[str] = []
    for path in tracked("*.py"):
        source = path.read_text(encoding="utf-8")
        if (n := len(source.splitlines())) > 400:
            found.append(f"{path.relative_to(ROOT)} has {n} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n = (node.end_lineno or 0) - node.lineno + 1
                if n > 60:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {n} lines")
    assert not found, "\n".join(found)


def test_no_room_is_imported_by_its_bare_name() -> None:
    found: list[str] = []
    for path in tracked("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.split(".")[0] in ROOMS]
    assert not found, "\n".join(found)


def has_pyright() -> bool:
    """Whether pyright starts; its first start fetches it from the package registry of node."""
    try:
        return subprocess.run([BIN / "pyright", "--version"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_pyright_finds_a_planted_error_in_every_room(tmp_path: Path) -> None:
    if not has_pyright():
        pytest.skip(
            "pyright does not start: it is fetched on its first start, and the network is not reachable"
        )
    copy_of_project(tmp_path)
    planted = [tmp_path / room / "planted.py" for room in ROOMS] + [tmp_path / "src/vitruvius/planted.py"]
    for path in planted:
        path.write_text('"""A file with an error."""\n\nx: int = "text"\n')
    interpreter = ["--pythonpath", sys.executable]
    targets = [f"src/vitruvius/{room}/planted.py" for room in ROOMS] + ["src/vitruvius/planted.py"]
    done = subprocess.run(
        [BIN / "pyright", *interpreter, *targets], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.count("error:") == len(planted), done.stdout


def run_lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the layers of a copy of the project."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(
        [BIN / "lint-imports", "--no-cache", "--no-logo"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_layers_hold_and_a_planted_import_breaks_them(tmp_path: Path) -> None:
    copy_of_project(tmp_path)
    clean = run_lint_imports(tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    (tmp_path / "generator/planted.py").write_text("import vitruvius.agents.reasoner\n")
    broken = run_lint_imports(tmp_path)
    assert broken.returncode == 1
    assert "vitruvius.generator is not allowed to import vitruvius.agents" in broken.stdout


def test_a_planted_look_at_the_test_metric_breaks_the_contract(tmp_path: Path) -> None:
    copy_of_project(tmp_path)
    (tmp_path / "agents/planted.py").write_text("import vitruvius.generator.evaluation.revealed\n")
    broken = run_lint_imports(tmp_path)
    assert broken.returncode == 1
    assert "vitruvius.agents.planted -> vitruvius.generator.evaluation.revealed" in broken.stdout
