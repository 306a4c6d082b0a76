"""Uses pylibmc, which is libmemcached in Python, and prints ok.

Arguments: port, `text` or `binary`, and a user with a password where the server wants to know who one is.
"""

import sys

import pylibmc

port, protocol = sys.argv[1:3]
user, password = (sys.argv[3:] + [None, None])[:2]
address = [f"127.0.0.1:{port}"]
binary = protocol == "binary"


def connect(password):
    behaviors = {"tcp_nodelay": True, "cas": True}
    return pylibmc.Client(address, binary=binary, username=user, password=password, behaviors=behaviors)


def not_found(action):
    try:
        action()
    except pylibmc.NotFound:
        return
    raise AssertionError("a missing key was found")


def storage(client):
    assert client.set("key", "value")
    assert client.get("key") == "value"
    assert client.get("none") is None and client.get("none", "default") == "default"
    assert client.add("key", "other") is False and client.add("new", "first") is True
    if binary:
        # In this protocol a missing key is an error of its own, which libmemcached hands on.
        not_found(lambda: client.replace("none", "x"))
    else:
        assert client.replace("none", "x") is False
    assert client.replace("key", "-") is True
    assert client.append("key", "+") and client.prepend("key", "/")
    assert client.get("key") == "/-+"
    assert client.delete("key") is True and client.delete("key") is False
    for value in (7, 2**40, 1.5, True, b"bytes \x00\xff", "ключ", [1, {"a": None}], "x" * 900_000):
        assert client.set("kind", value) and client.get("kind") == value, value
    assert client.set("packed", "y" * 100_000, min_compress_len=1000) and client.get("packed") == "y" * 100_000


def many(client):
    values = {f"many{number}": number for number in range(500)}
    assert client.set_multi(values) == []
    assert client.get_multi([*values, "none"]) == values
    assert client.add_multi({"many0": 1, "many500": 1}) == ["many0"]
    assert client.delete_multi(list(values)) is True
    assert client.get_multi(list(values)) == {}
    assert client.set_multi({"a": 1, "b": 2}, key_prefix="prefix:") == []
    assert client.get_multi(["a", "b"], key_prefix="prefix:") == {"a": 1, "b": 2}


def uniques(client):
    client.set("unique", "a")
    value, unique = client.gets("unique")
    assert value == "a" and unique
    assert client.cas("unique", "b", unique) is True
    assert client.cas("unique", "c", unique) is False
    assert client.get("unique") == "b"


def counters(client):
    client.set("counter", 10)
    assert client.incr("counter") == 11 and client.incr("counter", 5) == 16
    assert client.decr("counter", 6) == 10
    assert client.incr_multi(["counter"], delta=2) is None and client.get("counter") == 12
    not_found(lambda: client.incr("none"))
    assert client.touch("counter", 100) is True and client.touch("none", 100) is False


def limits(client):
    try:
        client.set("large", bytes(1_100_000))
        raise AssertionError("a value over the limit was stored")
    except pylibmc.Error:
        pass
    assert client.set("after", 1) and client.get("after") == 1


def administration(client):
    ((_, statistics),) = client.get_stats()
    assert int(statistics["curr_items"]) > 0, statistics
    assert client.flush_all()
    assert client.get("after") is None


if user:
    try:
        connect(password + "x").set("key", "value")
        raise AssertionError("a wrong password was taken")
    except pylibmc.Error:
        pass
client = connect(password)
for step in (storage, many, uniques, counters, limits, administration):
    step(client)
client.disconnect_all()
print("ok")
