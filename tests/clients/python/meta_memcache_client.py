"""Uses meta-memcache against the server on the port given, and prints ok."""

import sys

from meta_memcache import (
    CacheClient,
    Key,
    LeasePolicy,
    RecachePolicy,
    ServerAddress,
    SetMode,
    StalePolicy,
    connection_pool_factory_builder,
)

cache = CacheClient.cache_client_from_servers(
    servers=[ServerAddress("127.0.0.1", int(sys.argv[1]))],
    connection_pool_factory_fn=connection_pool_factory_builder(recv_timeout=10),
)


def storage():
    assert cache.set("key", {"a": [1, 2, 3]}, ttl=1000)
    assert cache.get("key") == {"a": [1, 2, 3]}
    assert cache.get("none") is None
    assert cache.get_typed("key", dict) == {"a": [1, 2, 3]}
    assert cache.set("key", "other", ttl=1000, set_mode=SetMode.ADD) is False
    assert cache.set("fresh", "first", ttl=1000, set_mode=SetMode.ADD)
    assert cache.refill("fresh", "second", ttl=1000) is False
    assert cache.set("nothing", "x", ttl=1000, set_mode=SetMode.REPLACE) is False
    assert cache.touch("key", ttl=50) and not cache.touch("none", ttl=50)
    assert cache.delete("key") and not cache.delete("key")
    assert cache.invalidate("key")
    for number in range(200):
        cache.set(f"silent{number}", number, ttl=1000, no_reply=True)
    assert cache.get("silent199") == 199


def many():
    keys = [f"many{number}" for number in range(200)]
    for number, key in enumerate(keys):
        assert cache.set(key, number, ttl=1000)
    found = cache.multi_get(keys + ["none"])
    assert [found[Key(key)] for key in keys] == list(range(200)) and found[Key("none")] is None


def binary_keys():
    # Keys with spaces or other alphabets travel in base64.
    for name in ("key with spaces", "ключ", "鍵" * 30, "k" * 300):
        assert cache.set(name, name, ttl=1000) and cache.get(name) == name
        assert cache.delete(name) and cache.get(name) is None
    assert cache.multi_get(["a b", "c d"]) == {Key("a b"): None, Key("c d"): None}


def uniques():
    first = cache.set_cas("unique", "a", ttl=1000)
    if first is None:
        # This client keeps no unique of more than 32 bits, though the protocol has 64.
        assert cache.get_cas("unique") == ("a", None)
        return
    assert first is not None and cache.get_cas("unique") == ("a", first)
    assert cache.set("unique", "b", ttl=1000, cas_token=first)
    assert cache.set("unique", "c", ttl=1000, cas_token=first) is False
    stale = StalePolicy(mark_stale_on_cas_mismatch=True)
    assert cache.set("unique", "d", ttl=1000, cas_token=first, stale_policy=stale)
    value, second = cache.get_cas("unique")
    assert second is not None and cache.delete("unique", cas_token=second)


def stale_values():
    policy = StalePolicy(mark_stale_on_deletion_ttl=30)
    assert cache.set("stale", "old", ttl=1000)
    assert cache.delete("stale", stale_policy=policy)
    # The first reader wins and is told to fetch anew; the others go on with the stale value.
    assert cache.get("stale") is None
    assert cache.get("stale") == "old" and cache.get("stale") == "old"
    assert cache.set("stale", "new", ttl=1000) and cache.get("stale") == "new"


def recaching():
    assert cache.set("recache", "value", ttl=20)
    assert cache.get("recache", recache_policy=RecachePolicy(ttl=10)) == "value"
    assert cache.get("recache", recache_policy=RecachePolicy(ttl=30)) is None
    assert cache.get("recache", recache_policy=RecachePolicy(ttl=30)) == "value"


def leases():
    policy = LeasePolicy(ttl=30, miss_retries=2, miss_retry_wait=0.01)
    assert cache.get_or_lease("lease", policy) is None
    assert cache.get_or_lease("lease", policy) is None
    value, unique = cache.get_or_lease_cas("lease", policy)
    assert value is None
    assert cache.set("lease", "made", ttl=1000)
    assert cache.get_or_lease("lease", policy) == "made"


def counters():
    assert cache.delta("counter", delta=1) is False
    assert cache.delta_initialize_and_get("counter", delta=1, initial_value=10, initial_ttl=1000) == 10
    assert cache.delta_and_get("counter", delta=5) == 15
    assert cache.delta_and_get("counter", delta=-6) == 9
    assert cache.delta("counter", delta=1, no_reply=True)
    assert cache.delta_and_get("counter", delta=0) == 10


for step in (storage, many, binary_keys, uniques, stale_values, recaching, leases, counters):
    step()
print("ok")
