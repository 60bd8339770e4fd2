"""A refusal shows its arithmetic."""

from kinetics.cost.memory import MemoryNeed

GIB = 2**30


def test_what_fits_is_not_refused():
    assert MemoryNeed(parts={"kv": 9 * GIB}).unavailable_within(10 * GIB, share=0.9) is None


def test_a_refusal_names_each_part_and_what_is_free():
    need = MemoryNeed(parts={"kv": 88 * GIB, "providers": 4 * GIB, "summaries": GIB // 100})
    expected = "needs 92.0 GiB (kv 88.0 + providers 4.0), free 80.0 GiB x 0.90"
    assert str(need.unavailable_within(80 * GIB, share=0.9)) == expected


def test_only_the_share_may_be_used():
    need = MemoryNeed(parts={"kv": 95 * GIB})
    assert need.unavailable_within(100 * GIB, share=0.9) is not None
    assert need.unavailable_within(100 * GIB, share=1.0) is None
