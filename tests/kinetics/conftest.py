"""Made result files, for what reads them."""

import json

import pytest

from tests.support.result_rows import make_document, make_law, make_row


@pytest.fixture
def row():
    return make_row


@pytest.fixture
def document():
    return make_document


@pytest.fixture
def result(tmp_path):
    """Writes a result file of rows and returns its path."""

    def write(name, rows, **fields):
        path = tmp_path / name
        path.write_text(json.dumps(make_document(rows, **fields)), encoding="utf-8")
        return path

    return write


@pytest.fixture
def law(tmp_path):
    path = tmp_path / "law.json"
    path.write_text(json.dumps(make_law()))
    return path


@pytest.fixture
def made_law():
    return make_law
