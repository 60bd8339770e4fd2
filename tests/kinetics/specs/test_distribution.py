"""What is installed: a wheel that carries the benchmarks, one version, and hints that install what they name."""

import importlib.metadata
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import kinetics
from kinetics.specs.distribution import install_command
from tests.support.paths import ROOT

EXTRAS = ["gpu", "law", "engine", "aime", "distributed", "openai", "report"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel holds."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; pip install hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def run_installed(installed: Path, here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the wheel's contents in front of everything, in a folder that is no checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(installed)
    return subprocess.run(
        [sys.executable, *arguments], cwd=here, env=environment, capture_output=True, text=True, timeout=120
    )


def test_pyargs_collects_the_installed_benchmarks(installed: Path, tmp_path: Path) -> None:
    collect = ["-m", "pytest", "--pyargs", "kinetics.benchmarks", "--benchmark-only", "--collect-only", "-q"]
    done = run_installed(installed, tmp_path, *collect, "--device", "cpu", "--grid", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("test_decode_attention", "test_decode_step", "test_page_selection", "test_aime", "test_scaling_law"):
        assert f"{name}.py::" in done.stdout


def test_the_verb_measures_into_the_current_folder(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    tiny = ["--device", "cpu", "--model", "qwen3_0.6b", "--batch", "1", "--context", "64", "--kv-budget", "48"]
    bench = ["-m", "kinetics", "bench", "test_decode_attention.py", *tiny, "-k", "dense-ours"]
    done = run_installed(installed, tmp_path, *bench)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "runs").glob("cpu-*/*.json"))


def test_the_installed_law_needs_no_tables_of_the_repository(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, tmp_path, "-m", "kinetics", "bench", "test_scaling_law.py", "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_option_of_the_verb_is_one_line_and_exit_code_two(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, tmp_path, "-m", "kinetics", "bench", "--device", "tpu")
    assert done.returncode == 2
    assert "--device must be auto, cpu, cuda or cuda:<index>, got 'tpu'" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_types_are_told_to_other_projects(installed: Path) -> None:
    assert (installed / "kinetics" / "py.typed").exists()
    assert (installed / "kinetics_kernels" / "py.typed").exists()


def test_the_version_is_one(installed: Path) -> None:
    (metadata,) = installed.glob("*.dist-info/METADATA")
    assert f"\nVersion: {kinetics.__version__}\n" in metadata.read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == kinetics.__version__


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_hint_names_packages_and_never_this_distribution(extra: str) -> None:
    """pip asks an index about every name; this one's is free to be taken by anybody."""
    words = shlex.split(install_command(extra))
    assert words[:2] == ["pip", "install"]
    names = [Requirement(word).name for word in words[2:]]
    assert names
    assert "kinetics-bench" not in names
    assert not any(Requirement(word).marker for word in words[2:])


def test_an_unknown_extra_is_refused() -> None:
    with pytest.raises(ValueError, match="extra must be one of kinetics-bench's, got 'reprot'"):
        install_command("reprot")


def test_without_metadata_the_hint_is_that_of_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", missing)
    assert install_command("report") == "pip install -e '.[report]' in a checkout"


def test_no_text_tells_anybody_to_install_this_distribution_by_name() -> None:
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("kinetics/**/*.py"), *ROOT.glob("kernels/**/*.py")]
    assert [path for path in paths if "kinetics-bench[" in path.read_text(encoding="utf-8")] == []
