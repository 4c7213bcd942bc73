"""Check the packed table of digests against a plain dictionary."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.pipeline.digest_table import DigestTable

IDS = st.text(max_size=12) | st.sampled_from(["", "a", "aa", "a|b", "ÿ", "\x00", "\ud800"])


class AsADictionary(RuleBasedStateMachine):
    """Whatever is done to it, it holds what a dictionary would."""

    @initialize(width=st.integers(0, 24))
    def begin(self, width: int) -> None:
        self.width = width
        self.known = DigestTable(width)
        self.model: dict[str, bytes] = {}

    @rule(native_id=IDS, data=st.data())
    def put(self, native_id: str, data: st.DataObject) -> None:
        value = data.draw(
            st.binary(min_size=self.width, max_size=self.width) | st.just(b"\xff" * self.width)
        )
        self.known[native_id] = self.model[native_id] = value

    @rule(native_ids=st.lists(IDS, min_size=40, max_size=120))
    def put_many(self, native_ids: list[str]) -> None:
        for native_id in native_ids:
            self.known[native_id] = self.model[native_id] = b"\xff" * self.width

    @rule(native_id=IDS)
    def take(self, native_id: str) -> None:
        assert self.known.pop(native_id, None) == self.model.pop(native_id, None)

    @rule(native_id=IDS)
    def look(self, native_id: str) -> None:
        assert self.known.get(native_id) == self.model.get(native_id)
        assert (native_id in self.known) == (native_id in self.model)

    @invariant()
    def same(self) -> None:
        if hasattr(self, "known"):
            assert len(self.known) == len(self.model)
            assert dict(self.known) == self.model
            assert dict(self.known.iter_items()) == self.model


TestAsADictionary = AsADictionary.TestCase
TestAsADictionary.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@given(st.binary(max_size=30).filter(lambda value: len(value) != 24))
def test_digest_of_another_length_is_refused(value: bytes) -> None:
    known = DigestTable()
    try:
        known["a"] = value
    except ValueError as error:
        assert "24" in str(error)
    else:
        raise AssertionError
    assert len(known) == 0


def test_a_million_digests_fit_in_memory() -> None:
    """Counted on 100,000: what the buckets hold, with what Python spends on each."""
    import sys

    known = DigestTable()
    for number in range(100_000):
        known[f"2026-{number:09d}-award"] = b"d" * 24
    held = sum(
        sys.getsizeof(one) for pair in known._buckets for one in (pair, *pair)
    ) + sys.getsizeof(known._buckets)
    assert held / len(known) < 80
    assert known["2026-000099999-award"] == b"d" * 24
    assert max(ids.count(b"\xff") for ids, _ in known._buckets) < 5 * 32
