"""The process's environment."""

import logging
import subprocess
import sys

import pytest

from paddlevideo import environment
from paddlevideo.environment import cpu_flags, keep_freed_memory, mkl_cpu_type
from paddlevideo.errors import UserError

# page faults of touching a freed 40 MB block again, in a fresh process and in a child that it forks
_SCRIPT = """
import ctypes, os, resource
from paddlevideo.environment import set_cpu_environment
set_cpu_environment()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(40 << 20)
    ctypes.memset(block, 1, 40 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(touch())
"""


def _faults(**environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={"PYTHONPATH": ".", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_and_a_variable_switches_it_off():
    pages = (40 << 20) // 4096
    assert _faults() < pages // 10
    assert _faults(PADDLEVIDEO_KEEP_MEMORY="0") > pages // 2
    assert _faults(MALLOC_TRIM_THRESHOLD_="1000") > pages // 2


def test_variable_is_checked(monkeypatch):
    monkeypatch.setenv("PADDLEVIDEO_KEEP_MEMORY", "no")
    with pytest.raises(UserError, match="PADDLEVIDEO_KEEP_MEMORY: expected 0 or 1, got 'no'"):
        keep_freed_memory()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl", "7"),
        ("fpu avx2 avx512f avx512cd avx512er avx512pf", "5"),  # an older AVX-512 without the parts that MKL uses
        ("fpu avx2", "5"),
    ],
)
def test_mkl_uses_avx512_only_where_the_processor_has_it(tmp_path, monkeypatch, flags, expected):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: X\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(environment, "_CPU_INFO", str(tmp_path / "cpuinfo"))
    assert mkl_cpu_type() == expected and cpu_flags() == set(flags.split())
    monkeypatch.setattr(environment, "_CPU_INFO", str(tmp_path / "none"))
    assert mkl_cpu_type() == "5" and not cpu_flags()


def test_log_lines_go_to_the_given_function_for_a_while():
    log, lines = logging.getLogger("paddlevideo"), []
    before = (list(log.handlers), log.level, log.propagate)
    with environment.log_lines_to(lines.append):
        log.info("loaded %d keys", 3)
    assert lines == ["loaded 3 keys"] and (list(log.handlers), log.level, log.propagate) == before
