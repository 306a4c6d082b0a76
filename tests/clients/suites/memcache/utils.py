"""What the suite of python-memcached imports and its source distribution lacks."""

import contextlib
import io


@contextlib.contextmanager
def captured_stderr():
    """What is written to the standard error meanwhile."""
    with contextlib.redirect_stderr(io.StringIO()) as captured:
        yield captured
