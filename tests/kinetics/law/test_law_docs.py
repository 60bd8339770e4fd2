"""The page on the law shows the recorded tables, and every file it points to is there."""

import re

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "law.md").read_text(encoding="utf-8")


def test_the_page_shows_the_recorded_claims():
    assert (ROOT / "results" / "tables" / "claims.md").read_text(encoding="utf-8") in PAGE


def test_the_page_shows_what_sparse_attention_gives_on_real_gpus():
    assert (ROOT / "results" / "real_gpus" / "real_gpu_gains.md").read_text(encoding="utf-8") in PAGE


def test_every_linked_file_is_there():
    links = re.findall(r"\]\((\.\./[^)]+)\)", PAGE)
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
