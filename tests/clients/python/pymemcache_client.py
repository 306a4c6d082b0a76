"""Uses pymemcache against the server on the port given, and prints ok.

RINGCACHE_TEST_CA names the certificate to trust where the server speaks TLS.
"""

import os
import ssl
import sys

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

authority = os.environ.get("RINGCACHE_TEST_CA")
tls = ssl.create_default_context(cafile=authority) if authority else None
address = ("localhost" if tls else "127.0.0.1", int(sys.argv[1]))
options = {"timeout": 10, "tls_context": tls}


def storage(client):
    assert client.set("key", "value", noreply=False)
    assert client.get("key") == b"value"
    assert client.get("none") is None and client.get("none", "default") == "default"
    assert client.add("key", "other", noreply=False) is False
    assert client.add("new", "first", noreply=False) is True
    assert client.replace("none", "x", noreply=False) is False
    assert client.append("key", "+", noreply=False) and client.prepend("key", "-", noreply=False)
    assert client.get("key") == b"-value+"
    assert client.delete("key", noreply=False) is True
    assert client.delete("key", noreply=False) is False


def silent(client):
    # The client's default: no reply to sets and deletes, so that a reply too many would be read as the next one's.
    for number in range(500):
        client.set(f"silent{number}", str(number))
    for number in range(0, 500, 2):
        client.delete(f"silent{number}")
    found = client.get_many([f"silent{number}" for number in range(500)])
    assert len(found) == 250 and found["silent7"] == b"7"


def many(client):
    values = {f"many{number}": f"value {number}" * 10 for number in range(300)}
    assert client.set_many(values, noreply=False) == []
    found = client.get_many(list(values))
    assert {key: value.decode() for key, value in found.items()} == values
    assert client.delete_many(list(values), noreply=False)
    assert client.get_many(list(values)) == {}


def uniques(client):
    client.set("unique", "a", noreply=False)
    value, unique = client.gets("unique")
    assert value == b"a"
    assert client.cas("unique", "b", unique, noreply=False) is True
    assert client.cas("unique", "c", unique, noreply=False) is False
    assert client.cas("none", "c", unique, noreply=False) is None
    assert client.gets_many(["unique", "none"])["unique"][0] == b"b"


def counters(client):
    client.set("counter", "10", noreply=False)
    assert client.incr("counter", 5) == 15
    assert client.decr("counter", 20) == 0
    assert client.incr("none", 1) is None
    assert client.touch("counter", 100, noreply=False) is True
    assert client.touch("none", 100, noreply=False) is False
    client.set("text", "abc", noreply=False)
    expect(MemcacheClientError, lambda: client.incr("text", 1))


def limits(client):
    large = b"x" * 1_000_000
    assert client.set("large", large, noreply=False) and client.get("large") == large
    expect(MemcacheServerError, lambda: client.set("large", b"x" * 1_100_000, noreply=False))
    assert client.get("large") is None
    binary = bytes(range(256)) * 4
    assert client.set("binary", binary, noreply=False) and client.get("binary") == binary


def administration(client):
    assert client.version().startswith(b"1.6.")
    stats = client.stats()
    assert int(stats[b"curr_items"]) > 0 and b"ringcache_version" in stats
    assert client.stats("settings")[b"maxbytes"]
    assert isinstance(client.stats("items"), dict) and isinstance(client.stats("slabs"), dict)
    assert client.cache_memlimit(64)
    assert client.flush_all(noreply=False)
    assert client.get("binary") is None
    assert client.raw_command("mn", "MN\r\n") is not None


def expect(error, action):
    try:
        action()
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


steps = [storage, silent, many, uniques, counters, limits]
for make in (lambda: Client(address, **options), lambda: PooledClient(address, **options)):
    client = make()
    for step in steps:
        step(client)
    client.flush_all(noreply=False)
    client.close()
administration_client = Client(address, **options)
limits(administration_client)
administration(administration_client)
hashed = HashClient([address], **options)
assert hashed.set("key", "value", noreply=False) and hashed.get("key") == b"value"
assert hashed.get_many(["key", "none"]) == {"key": b"value"}
administration_client.quit()
print("ok")
