"""The fixtures that the suite of python-binary-memcached asks for and its source distribution lacks."""

import os
import subprocess
import time

import pytest

# The server that runs already listens there, too.
IPV6_PORT = 11211
SASL_PORT = 5002


@pytest.fixture
def memcached_ipv6():
    """The server on `::1`, which runs for the whole suite."""


@pytest.fixture(scope="session")
def memcached_sasl(tmp_path_factory):
    """Port, user and password of a server with `-S`."""
    users = tmp_path_factory.mktemp("sasl") / "users"
    users.write_text("ann:secret\n")
    environment = {**os.environ, "MEMCACHED_SASL_PWDB": str(users)}
    server = subprocess.Popen(["memcached", "-S", "-p", str(SASL_PORT)], env=environment)
    time.sleep(0.5)
    yield SASL_PORT, "ann", "secret"
    server.kill()
    server.wait()
