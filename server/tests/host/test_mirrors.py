"""What stays open to the build engine while the names of mirrors lead elsewhere."""

from ipaddress import ip_address

from trackside.host.mirrors import STAY_OPEN_SECONDS, Place, Seen, endpoints, resolved, seen_again, services

MIRROR: Place = ("mirror.test", 443)
OLD, NEW = ip_address("10.0.0.1"), ip_address("10.0.0.2")


def test_services_are_read_from_addresses_as_settings_have_them() -> None:
    said = [
        "127.0.0.1:5000",
        "http://mirror.test/hub",
        "https://[::1]:8443",
        "proxy.test",
        "",
        "http://user:word@p.test:3128",
        "x:y",
    ]
    assert endpoints(said) == {
        ("127.0.0.1", 5000),
        ("mirror.test", 80),
        ("::1", 8443),
        ("proxy.test", 443),
        ("p.test", 3128),
    }


async def test_names_without_an_address_open_nothing() -> None:
    answers = await resolved([("no-such-host.invalid", 1), ("127.0.0.1", 5000)])
    assert services(seen_again({}, answers, 0)) == {(ip_address("127.0.0.1"), 5000)}


def test_a_new_address_is_open_at_once_and_the_former_one_for_a_while() -> None:
    seen = seen_again(seen_again({}, {MIRROR: frozenset({OLD})}, 0), {MIRROR: frozenset({NEW})}, 30)
    assert services(seen) == {(OLD, 443), (NEW, 443)}
    assert services(seen_again(seen, {MIRROR: frozenset({NEW})}, STAY_OPEN_SECONDS)) == {(NEW, 443)}


def test_an_address_that_is_seen_again_stays_open_as_long_as_anew() -> None:
    seen: Seen = {}
    for now in range(0, int(3 * STAY_OPEN_SECONDS), 60):
        seen = seen_again(seen, {MIRROR: frozenset({OLD if now % 120 else NEW})}, now)
    assert services(seen) == {(OLD, 443), (NEW, 443)}


def test_without_an_answer_all_stays_as_it_was() -> None:
    seen = seen_again({}, {MIRROR: frozenset({OLD})}, 0)
    assert services(seen_again(seen, {MIRROR: frozenset()}, 100 * STAY_OPEN_SECONDS)) == {(OLD, 443)}
