"""What accuracy does a cost buy here, dense and sparse, from samples generated on this machine?

By default the miniature family that ships with the package sits its contest: it checks the pipeline and shows the
law's shape, and is no claim about language models. `--traces DIR` costs logs that are there; `--hf-model ID` generates
with real weights. Tables and the figure go to `aime/` in a folder named like the result file, beside it.

In exact eFLOPs sparse attention must not be clearly less accurate than dense (95 % interval of the paired difference)
at any cost where dense lies between 20 and 90 % of its maximum, for one longer answer and for Best-of-N; measured
seconds are reported whatever their sign. Where the logs are the paper's own traces, its claims must keep their recorded
verdicts.
"""

from pathlib import Path
from typing import Any

import pytest

from kinetics.bench.aime import (
    AimeCase,
    aime_cases,
    claim_facts,
    compare_logs,
    comparison_facts,
    law_request,
    missing_weights,
    paper_traces,
    run_case,
    run_facts,
)
from kinetics.bench.plugin import settings_of, tables_of
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.measured_costs import EFLOP, MEASURED
from kinetics.law.request import LawOutcome
from kinetics.law.run import run_law


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    option = metafunc.config.option
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [] if option.traces else aime_cases(option.hf_model), ids=str)


@pytest.fixture(scope="module")
def logs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of logs: the one given, or one that the cases fill."""
    given = request.config.option.traces
    return Path(given) if given else tmp_path_factory.mktemp("runs")


@pytest.fixture
def tables(request: pytest.FixtureRequest) -> Path:
    return tables_of(request.config) / "aime"


@pytest.mark.benchmark(group="aime")
def test_generate(case: AimeCase, logs: Path, request: pytest.FixtureRequest, benchmark: Any) -> None:
    if unavailable := missing_weights(case):
        pytest.skip(unavailable.reason)
    device = settings_of(request.config).device.torch_name
    outcome = benchmark.pedantic(run_case, args=(case, logs), kwargs={"device": device}, rounds=1)
    benchmark.extra_info.update(run_facts(case, outcome))
    assert not outcome.refused
    assert outcome.document["generated"] == outcome.document["samples"]


@pytest.mark.benchmark(group="aime")
def test_the_logs_give_the_law(logs: Path, tables: Path, benchmark: Any) -> None:
    if not list(logs.glob("*.jsonl")):
        pytest.skip("no log was made")
    outcome: LawOutcome = benchmark.pedantic(run_law, args=(law_request(logs, tables),), rounds=1)
    benchmark.extra_info.update(
        operation="aime_law", logs=len(list(logs.glob("*.jsonl"))), folder=f"{tables.parent.name}/{tables.name}"
    )
    assert not outcome.has_failed
    is_timed = not paper_traces(logs)  # published traces tell no seconds
    assert not is_timed or outcome.document["tables"]["your_hardware"], "a question must be solved, seconds be measured"


@pytest.mark.benchmark(group="aime")
def test_the_papers_claims_keep_their_verdicts(logs: Path, tables: Path, benchmark: Any) -> None:
    files = paper_traces(logs)
    if not files:
        pytest.skip("the claims are about the paper's traces of all six models on AIME24; name them with --traces")
    request = law_request(logs, tables / "claims", files=files)
    outcome: LawOutcome = benchmark.pedantic(run_law, args=(request,), rounds=1)
    benchmark.extra_info.update(claim_facts(outcome))
    assert benchmark.extra_info["changed"] == []


@pytest.mark.benchmark(group="aime")
@pytest.mark.parametrize("cost_name", [EFLOP, MEASURED])
@pytest.mark.parametrize("task", [LONG_COT, BEST_OF_N])
def test_sparse_against_dense(task: str, cost_name: str, logs: Path, tables: Path, benchmark: Any) -> None:
    if not list(logs.glob("*.jsonl")):
        pytest.skip("no log was made")
    found = benchmark.pedantic(compare_logs, args=(logs, tables, task, cost_name), rounds=1)
    if not found:
        pytest.skip(f"logs of both dense and sparse attention that tell {cost_name} are needed to compare them")
    for comparison in found:
        benchmark.extra_info.update(comparison_facts(comparison, task, cost_name))
        assert comparison.num_costs > 0
        if cost_name == EFLOP:
            assert comparison.num_clearly_below == 0
