"""FlashInfer's modules are built where there is a compiler and load from where FlashInfer looks for them."""

from __future__ import annotations

import os
from types import ModuleType, SimpleNamespace

import pytest

from tests.support.scripts import script

build_flashinfer = script("build_flashinfer")


class Spec:
    """As FlashInfer describes a module, without a compiler."""

    def __init__(self, name, folder):
        self.name, self.jit_library_path = name, folder / name / f"{name}.so"

    def build(self, *, verbose):
        assert os.environ["FLASHINFER_CUDA_ARCH_LIST"] == "9.0a"
        self.jit_library_path.parent.mkdir(parents=True)
        self.jit_library_path.write_text(self.name)


@pytest.fixture
def flashinfer(tmp_path, monkeypatch):
    modules = {name: ModuleType(name) for name in ("flashinfer", "flashinfer.jit", "flashinfer.jit.attention")}
    modules["flashinfer.jit.topk"] = SimpleNamespace(gen_topk_module=lambda: Spec("topk", tmp_path / "jit"))
    modules["flashinfer.jit.attention.modules"] = SimpleNamespace(
        gen_batch_decode_module=lambda *words: Spec(f"decode_{words[4]}_{words[3]}", tmp_path / "jit"),
        gen_batch_prefill_module=lambda backend, *words: Spec(f"{backend}_{words[4]}_{len(words)}", tmp_path / "jit"),
    )
    modules["flashinfer.jit.env"] = SimpleNamespace(FLASHINFER_AOT_DIR=tmp_path / "package" / "aot")
    for name, module in modules.items():
        monkeypatch.setitem(__import__("sys").modules, name, module)
    monkeypatch.setenv("FLASHINFER_CUDA_ARCH_LIST", "")
    return tmp_path


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["build_flashinfer.py", *map(str, words)])
    return build_flashinfer.main()


def test_what_was_built_in_one_place_loads_in_another(flashinfer, monkeypatch):
    assert run(monkeypatch, "--out", flashinfer / "carried") == 0
    carried = {path.name for path in (flashinfer / "carried").glob("*/*.so")}
    assert carried == {
        "topk.so", "decode_64_torch.int32.so", "decode_128_torch.int32.so", "fa2_64_10.so", "fa2_128_10.so",
        "fa3_64_10.so", "fa3_128_10.so",
    }  # fmt: skip
    assert run(monkeypatch, "--install", flashinfer / "carried") == 0
    for path in (flashinfer / "carried").glob("*/*.so"):
        assert (flashinfer / "package" / "aot" / path.stem / path.name).read_text() == path.stem


def test_nothing_to_install_and_no_flashinfer_are_one_line(flashinfer, monkeypatch, capsys):
    assert run(monkeypatch, "--install", flashinfer) == 2
    assert "--install must be a folder with NAME/NAME.so in it" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "flashinfer.jit.topk", None)
    assert run(monkeypatch, "--out", flashinfer / "carried") == 2
    assert capsys.readouterr().err.strip().startswith("build_flashinfer: ")
