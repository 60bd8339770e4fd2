"""The analytic half works on a laptop, and nothing of ours stands in the way of anybody else's packages."""

import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def modules_after(statement):
    code = f"{statement}; import sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "specs.hardware", "specs.models", "specs.policies", "specs.dtypes", "cost.kernels", "cost.steps", "cost.query",
        "cases.kernels", "cases.kernel_work", "cases.steps", "prediction.roofline", "prediction.predict",
        "prediction.calibration", "results.kernel_row", "results.speedup", "results.reader", "law.run", "cli.main",
    ],
)  # fmt: skip
def test_the_analytic_half_never_loads_a_tensor_library(module):
    assert not {"torch", "triton", "numba", "matplotlib", "transformers"} & modules_after(f"import kinetics.{module}")


def test_costs_need_nothing_but_the_standard_library():
    assert not {"numpy", "pandas", "scipy"} & modules_after("import kinetics.cost.kernels")


def test_the_plugin_that_every_pytest_run_loads_is_light():
    assert not {"torch", "numpy", "scipy", "pandas", "rich"} & modules_after("import kinetics.bench.plugin")


def test_the_folder_of_kernels_never_answers_for_the_package_of_that_name():
    code = "import kernels; assert kernels.__file__ is None, kernels.__file__"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert not (ROOT / "kernels" / "__init__.py").exists()
