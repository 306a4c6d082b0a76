"""Uses python-memcached against the server on the port given, and prints ok."""

import sys

import memcache

client = memcache.Client([f"127.0.0.1:{sys.argv[1]}"], cache_cas=True, socket_timeout=10)
assert client.set("key", "value") and client.get("key") == "value"
assert client.get("none") is None
assert not client.add("key", "other") and client.add("new", "first")
assert not client.replace("none", "x") and client.replace("key", "-")
assert client.append("key", "+") and client.prepend("key", "/") and client.get("key") == "/-+"
assert client.delete("key") == 1
assert client.get("key") is None

for value in (7, 2**70, True, b"bytes \x00\xff", "ключ", [1, {"a": None}], "x" * 900_000):
    assert client.set("kind", value) and client.get("kind") == value, value
assert client.set("packed", "y" * 100_000, min_compress_len=1000) and client.get("packed") == "y" * 100_000

values = {f"many{number}": number for number in range(500)}
assert client.set_multi(values) == []
assert client.get_multi([*values, "none"]) == values
assert client.delete_multi(values) == 1
assert client.get_multi(values) == {}

client.set("unique", "a")
assert client.gets("unique") == "a"
assert client.cas("unique", "b") and client.get("unique") == "b"
assert client.gets("unique") == "b" and client.set("unique", "c")
assert not client.cas("unique", "d") and client.get("unique") == "c"

client.set("counter", 10)
assert client.incr("counter", 5) == 15 and client.decr("counter", 20) == 0
assert client.incr("none") is None
assert client.touch("counter", 100) and not client.touch("none", 100)
client.set("silent", "1", noreply=True)
client.delete("counter", noreply=True)
assert client.get("silent") == "1" and client.get("counter") is None

((_, statistics),) = client.get_stats()
assert int(statistics["curr_items"]) > 0, statistics
assert client.get_slab_stats() and client.get_stats("items")
client.flush_all()
assert client.get("silent") is None
client.disconnect_all()
print("ok")
