"""What reaches an accuracy most cheaply, and on which devices that differs."""

import json
import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.law.stored_frontiers import FrontierLine, LawTask, cheapest, choice_remarks, compare_choices


def make_task(device, lines, *, task="best_of_n"):
    made = tuple(
        FrontierLine(attention=attention, seconds=seconds, accuracy=accuracy, best_model=models)
        for attention, seconds, accuracy, models in lines
    )
    return LawTask(task=task, source="made", pricing="by hand", device=device, lines=made)


DENSE = ("dense", [1.0, 10.0], [0.35, 0.75], ["4B", "8B"])
SPARSE = ("block_topk", [2.0, 4.0], [0.35, 0.75], ["4B", "14B"])


def test_the_cheapest_way_is_the_first_point_of_any_family_that_reaches_the_accuracy():
    task = make_task("gpu", [DENSE, SPARSE])
    assert (cheapest(task, 0.3).attention, cheapest(task, 0.3).model) == ("dense", "4B")
    assert (cheapest(task, 0.7).attention, cheapest(task, 0.7).model, cheapest(task, 0.7).seconds) == (
        "block_topk",
        "14B",
        4.0,
    )
    assert cheapest(task, 0.8) is None


def test_only_accuracies_that_two_devices_reach_are_compared_and_changes_are_marked():
    found = compare_choices([make_task("gpu", [DENSE, SPARSE]), make_task("cpu", [DENSE])])
    assert [at.accuracy for at in found] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert [at.changes for at in found] == [False] * 3 + [True] * 4


def test_different_ways_of_spending_are_not_compared():
    assert compare_choices([make_task("gpu", [DENSE]), make_task("cpu", [DENSE], task="long_cot")]) == []


@pytest.mark.parametrize("has_laws", [True, False])
def test_compare_shows_choices_or_says_what_they_need(result, row, made_law, tmp_path, has_laws):
    files = [result("a.json", [row()]), result("b.json", [row()], device="Made GPU", slug="made-gpu")]
    for name, model in (("cpu", "Qwen3-4B"), ("gpu", "Qwen3-8B")):
        document = made_law(device=name)
        document["tasks"][0]["frontiers"][0]["best_model"] = [model, "Qwen3-14B"]
        path = tmp_path / f"law-{name}.json"
        path.write_text(json.dumps(document))
        files += [path] if has_laws else []
    done = CliRunner().invoke(app, ["compare", *map(str, files), "--json"])
    found = json.loads(done.stdout)
    if not has_laws:
        assert "choices" not in found
        assert "kinetics law SAMPLES --measured FILE --json" in found["remarks"][-1]
        return
    changed = {line["accuracy_fraction"]: line["choice_changes"] for line in found["choices"]}
    assert "Choices on cpu: by hand; samples: made" in found["remarks"]
    assert not any("different samples" in remark for remark in found["remarks"])
    assert changed == {0.1: True, 0.2: True, 0.3: False, 0.4: False, 0.5: False}


def test_choices_that_rest_on_different_samples_say_so():
    tasks = [replace(make_task(name, [DENSE]), source=name) for name in ("gpu", "cpu")]
    assert "different samples" in choice_remarks(tasks)[-1]
    assert not any(at.is_of_one_source for at in compare_choices(tasks))
    assert all(at.is_of_one_source for at in compare_choices([replace(task, source="made") for task in tasks]))


def test_a_choice_says_how_its_device_was_priced_and_on_which_samples(result, row, made_law, tmp_path):
    files = [result("a.json", [row()]), result("b.json", [row()])]
    for name in ("cpu", "gpu"):
        files.append(tmp_path / f"law-{name}.json")
        files[-1].write_text(json.dumps(made_law(device=name, pricing=f"priced on {name}", source=f"log of {name}")))
    found = json.loads(CliRunner().invoke(app, ["compare", *map(str, files), "--json"]).stdout)["choices"]
    assert {(line["device"], line["pricing"], line["source"], line["same_samples"]) for line in found} == {
        (name, f"priced on {name}", f"log of {name}", False) for name in ("cpu", "gpu")
    }
    text = " ".join(CliRunner().invoke(app, ["compare", *map(str, files)]).stdout.split())
    assert re.search(r"same samples device", text)
    assert "Choices on gpu: priced on gpu; samples: log of gpu" in text
