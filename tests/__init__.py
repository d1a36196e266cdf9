"""Tests, in folders that mirror the packages of fibseg."""

import pytest

# Before the helpers are imported, so that their failed assertions show values.
pytest.register_assert_rewrite("tests.support")
