"""Uses python-binary-memcached against the server on the port given, and prints ok.

Arguments: port, `binary`, and a user with a password where the server wants to know who one is: a wrong one is tried
first. RINGCACHE_TEST_CA names the certificate to trust where the server speaks TLS.
"""

import os
import ssl
import sys

import bmemcached
from bmemcached.exceptions import AuthenticationNotSupported, InvalidCredentials, MemcachedException

authority = os.environ.get("RINGCACHE_TEST_CA")
tls = ssl.create_default_context(cafile=authority) if authority else None
address = f"{'localhost' if tls else '127.0.0.1'}:{sys.argv[1]}"
user, password = (sys.argv[3:] + [None, None])[:2]


def storage(client):
    assert client.set("key", "value") is True
    assert client.get("key") == "value"
    assert client.get("none") is None and client.get("none", "default") == "default"
    assert client.add("key", "other") is False and client.add("new", "first") is True
    assert client.replace("none", "x") is False and client.replace("key", "value 2") is True
    assert client.get("key") == "value 2"
    assert client.delete("key") is True
    assert client.get("key") is None
    # This client tells a missing key like a removed one.
    client.delete("key")


def kinds(client):
    for value in (1, 2**40, b"bytes \x00\xff", "text", [1, "two"], {"three": 3}, "x" * 300_000):
        assert client.set("kind", value) is True
        assert client.get("kind") == value, value


def compressed(client):
    large = "compressible " * 20_000
    assert client.set("compressed", large, compress_level=6) is True
    assert client.get("compressed") == large


def swap(client):
    client.set("swap", "one")
    value, unique = client.gets("swap")
    assert value == "one" and unique
    assert client.cas("swap", "two", unique) is True
    assert client.cas("swap", "three", unique) is False
    assert client.get("swap") == "two"
    value, unique = client.get("swap", get_cas=True)
    assert client.delete("swap", cas=unique + 1) is False
    assert client.delete("swap", cas=unique) is True


def many(client):
    values = {f"many{number}": f"value {number}" for number in range(500)}
    assert client.set_multi(values) in ([], True)
    assert client.get_multi(list(values) + ["none"]) == values
    uniques = client.get_multi(list(values), get_cas=True)
    assert all(value == values[key] and unique for key, (value, unique) in uniques.items())
    assert client.delete_multi(list(values)) is True
    assert client.get_multi(list(values)) == {}


def counting(client):
    client.delete("count")
    assert client.incr("count", 5) == 0, "the first value is the default"
    assert client.incr("count", 5) == 5
    assert client.incr("count", 2**40) == 5 + 2**40
    assert client.decr("count", 2**41) == 0
    assert client.incr("from", 1, default=7) == 7


def node(client):
    (statistics,) = client.stats().values()
    assert int(statistics["curr_items"]) > 0, statistics
    (settings,) = client.stats("settings").values()
    assert settings["auth_enabled_sasl"] == (b"yes" if user else b"no"), settings
    assert client.flush_all() is True
    assert client.get("new") is None


def wrong_password():
    client = bmemcached.Client((address,), user, password + "x")
    try:
        client.set("key", "value")
    except (InvalidCredentials, AuthenticationNotSupported, MemcachedException):
        return
    raise AssertionError("a wrong password was taken")


if user:
    wrong_password()
client = bmemcached.Client((address,), user, password, tls_context=tls)
for part in (storage, kinds, compressed, swap, many, counting, node):
    part(client)
client.disconnect_all()
print("ok")
