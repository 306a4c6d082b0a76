"""Uses both memcached backends of Django's cache framework against the server on the port given, and prints ok."""

import sys

import django.conf

ADDRESS = f"127.0.0.1:{sys.argv[1]}"
BACKENDS = ("PyMemcacheCache", "PyLibMCCache")
django.conf.settings.configure(
    CACHES={
        name: {
            "BACKEND": f"django.core.cache.backends.memcached.{name}",
            "LOCATION": ADDRESS,
            "KEY_PREFIX": name,
        }
        for name in ("default", *BACKENDS)
        if name != "default"
    }
    | {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
)

from django.core.cache import caches  # noqa: E402  The settings come first.


def use(cache):
    assert cache.get("none") is None and cache.get("none", "default") == "default"
    cache.set("key", {"a": [1, 2, 3]}, 300)
    assert cache.get("key") == {"a": [1, 2, 3]} and cache.has_key("key") and "none" not in cache
    assert cache.add("key", "other") is False and cache.add("new", "first") is True
    assert cache.get_or_set("made", lambda: "value", 100) == "value" == cache.get("made")
    cache.set("forever", 1, None)
    cache.set("gone", 1, 0)
    assert cache.get("forever") == 1 and cache.get("gone") is None
    # More than 30 days: Django sends a point in time.
    cache.set("long", 1, 60 * 60 * 24 * 40)
    assert cache.get("long") == 1
    assert cache.incr("forever", 5) == 6 and cache.decr("forever") == 5
    try:
        cache.incr("none")
        raise AssertionError("a counter that is not there was counted")
    except ValueError:
        pass
    assert cache.touch("key", 50) is True and cache.touch("none") is False
    values = {f"many{number}": number for number in range(300)}
    assert cache.set_many(values) == []
    assert cache.get_many([*values, "none"]) == values
    cache.delete_many(values)
    assert cache.get_many(values) == {}
    assert cache.delete("key") is True and cache.delete("key") is False
    cache.set("versioned", 1, version=1)
    assert cache.incr_version("versioned") == 2 and cache.get("versioned", version=2) == 1
    cache.set("text", "ключ €")
    assert cache.get("text") == "ключ €"
    cache.clear()
    assert cache.get("text") is None
    cache.close()


for name in BACKENDS:
    use(caches[name])
print("ok")
