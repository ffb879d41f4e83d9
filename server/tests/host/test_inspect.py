"""Pictures of the machine, compared."""

from trackside.host.inspect import Snapshot, take_snapshot

BEFORE = Snapshot({"mounts": frozenset({"a", "b"}), "rules": frozenset({"nft: x"})})
AFTER = Snapshot({"mounts": frozenset({"b", "c"}), "rules": frozenset({"nft: x"}), "run": frozenset({"trackside-1"})})


def test_what_was_added_and_what_was_lost_is_named_by_kind() -> None:
    assert AFTER.added_since(BEFORE) == {"mounts": ["c"], "run": ["trackside-1"]}
    assert AFTER.lost_since(BEFORE) == {"mounts": ["a"]}


def test_equal_pictures_have_no_difference() -> None:
    assert BEFORE.added_since(BEFORE) == BEFORE.lost_since(BEFORE) == {}


def test_only_what_names_a_mark_is_looked_at_where_asked() -> None:
    assert AFTER.naming("trackside").added_since(BEFORE.naming("trackside")) == {"run": ["trackside-1"]}


async def test_the_machine_has_mounts_interfaces_and_settings_to_compare() -> None:
    seen = await take_snapshot()
    assert "net/ipv4/ip_forward = " in "\n".join(seen.things["settings"])
    assert any(line.startswith("lo ") for line in seen.things["interfaces"])
    assert seen.things["mounts"]
