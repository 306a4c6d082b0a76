"""Uses emcache against the server on the port given, and prints ok.

Arguments: port, `text`, and a user with a password where the server wants to know who one is. RINGCACHE_TEST_CA names
the certificate to trust where it speaks TLS.
"""

import asyncio
import os
import sys

import emcache

port, _ = sys.argv[1:3]
user, password = (sys.argv[3:] + [None, None])[:2]
authority = os.environ.get("RINGCACHE_TEST_CA")


async def refused(action, error):
    try:
        await action
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


async def use(client):
    await client.set(b"key", b"value", flags=7)
    found = await client.get(b"key", return_flags=True)
    assert (found.value, found.flags) == (b"value", 7)
    assert await client.get(b"none") is None
    await refused(client.add(b"key", b"other"), emcache.NotStoredStorageCommandError)
    await refused(client.replace(b"none", b"x"), emcache.NotStoredStorageCommandError)
    await client.append(b"key", b"+")
    await client.prepend(b"key", b"/")
    found = await client.gets(b"key")
    assert found.value == b"/value+" and found.cas
    await client.cas(b"key", b"swapped", found.cas)
    await refused(client.cas(b"key", b"again", found.cas), emcache.StorageCommandError)
    await client.set(b"counter", b"10")
    assert await client.increment(b"counter", 5) == 15 and await client.decrement(b"counter", 20) == 0
    await client.touch(b"counter", 100)
    keys = [b"many%d" % number for number in range(200)]
    await asyncio.gather(*(client.set(key, key) for key in keys))
    found = await client.get_many([*keys, b"none"])
    assert {key: value.value for key, value in found.items()} == {key: key for key in keys}
    for number in range(100):
        await client.set(b"silent%d" % number, b"x", noreply=True)
    assert (await client.gat(50, b"key")).value == b"swapped"
    await client.delete(b"key")
    assert await client.get(b"key") is None


async def run():
    address = emcache.MemcachedHostAddress("localhost" if authority else "127.0.0.1", int(port))
    options = {"timeout": 10, "max_connections": 2}
    if user:
        options |= {"username": user, "password": password}
    if authority:
        options |= {"ssl": True, "ssl_verify": True, "ssl_extra_ca": authority}
    client = await emcache.create_client([address], **options)
    await use(client)
    assert (await client.version(address)).startswith("1.6.")
    assert int((await client.stats(address))["curr_items"]) > 0
    await client.flush_all(address)
    assert await client.get(b"counter") is None
    await client.close()
    print("ok")


asyncio.run(run())
