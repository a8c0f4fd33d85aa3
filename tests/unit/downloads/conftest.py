"""Every test has a cache of its own, waits for nothing, and has neither proxies nor logins of its machine."""

import pytest

from paddlevideo.downloads import cache, http


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """``PADDLEVIDEO_HOME``."""
    monkeypatch.setattr(http, "_WAIT_S", 0.001)
    monkeypatch.setattr(cache, "_POLL_S", 0.01)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("PADDLEVIDEO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PADDLEVIDEO_CACHE_GB", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"
