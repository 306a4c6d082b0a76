"""Uses aiomcache against the server on the port given, and prints ok.

RINGCACHE_TEST_CA names the certificate to trust where the server speaks TLS.
"""

import asyncio
import os
import ssl
import sys

import aiomcache


async def use(client):
    assert await client.set(b"key", b"value") and await client.get(b"key") == b"value"
    assert await client.get(b"none") is None
    assert not await client.add(b"key", b"other") and await client.add(b"new", b"first")
    assert not await client.replace(b"none", b"x") and await client.replace(b"key", b"-")
    assert await client.append(b"key", b"+") and await client.prepend(b"key", b"/")
    assert await client.get(b"key") == b"/-+"
    value, unique = await client.gets(b"key")
    assert value == b"/-+" and await client.cas(b"key", b"swapped", unique)
    assert not await client.cas(b"key", b"again", unique)
    await client.set(b"counter", b"10")
    assert await client.incr(b"counter", 5) == 15 and await client.decr(b"counter", 20) == 0
    assert await client.touch(b"counter", 100) and not await client.touch(b"none", 100)
    keys = [b"many%d" % number for number in range(100)]
    # Many at once, over the connections of its pool.
    assert all(await asyncio.gather(*(client.set(key, key) for key in keys)))
    assert await asyncio.gather(*(client.get(key) for key in keys)) == keys
    assert await client.multi_get(*keys, b"none") == (*keys, None)
    large = bytes(range(256)) * 3000
    assert await client.set(b"large", large) and await client.get(b"large") == large
    assert await client.delete(b"key") and not await client.delete(b"key")
    assert (await client.version()).startswith(b"1.6.")
    assert int((await client.stats())[b"curr_items"]) > 0
    await client.flush_all()
    assert await client.get(b"large") is None


async def run():
    authority = os.environ.get("RINGCACHE_TEST_CA")
    host, arguments = "127.0.0.1", {}
    if authority:
        host, arguments = "localhost", {"ssl": ssl.create_default_context(cafile=authority)}
    client = aiomcache.Client(host, int(sys.argv[1]), pool_size=4, conn_args=arguments)
    await use(client)
    await client.close()
    print("ok")


asyncio.run(run())
