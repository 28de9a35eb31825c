import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from progan import files
from progan.errors import ConfigError
from progan.files import hold, locked, replacing, sync_folder


def test_file_appears_when_it_is_complete_and_the_old_one_is_kept_on_request(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a"
    for text in (b"one", b"two"):
        with replacing(path, spare=tmp_path / "spare") as file:
            file.write(text)
    assert (path.read_bytes(), (tmp_path / "spare").read_bytes()) == (b"two", b"one")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_error_leaves_the_old_file_and_nothing_else(error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fail() -> None:
        with replacing(tmp_path / "a", spare=tmp_path / "spare") as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_two_writers_with_tokens_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", token="1") as one, replacing(tmp_path / "a", token="2") as two:
        one.write(b"1")
        two.write(b"2")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"1")]


def test_a_folder_is_for_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "new"), pytest.raises(ConfigError, match="new: another process is using it"):  # noqa: SIM117
        with locked(tmp_path / "new"):
            raise AssertionError
    with locked(tmp_path / "new"), locked(tmp_path / "other"):
        pass


@pytest.fixture(params=["fcntl", "filelock"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of locking: that of POSIX, and that of other systems."""
    if request.param == "filelock":
        monkeypatch.setattr(files, "fcntl", None)
    return request.param


@pytest.mark.usefixtures("way")
def test_file_is_held_by_one_and_may_be_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    with hold(path, brief=True):
        with pytest.raises(BlockingIOError), hold(path):
            raise AssertionError
        with pytest.raises(ConfigError, match="another process is using it"), locked(tmp_path / "b"):  # noqa: SIM117
            with locked(tmp_path / "b"):
                raise AssertionError
    assert not list(path.parent.iterdir())
    with hold(path), hold(path.with_name("b")):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from progan.files import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_held_is_free(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "a")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BlockingIOError), hold(tmp_path / "a"):
            raise AssertionError
        process.kill()
        with hold(tmp_path / "a", wait=True):
            pass


def test_who_waits_notices_that_the_folder_was_removed(tmp_path: Path) -> None:
    path, waits, enough = tmp_path / "folder" / "a", threading.Event(), threading.Event()
    seen: list[bool] = []

    def wait() -> None:
        waits.set()
        with hold(path, wait=True):
            seen.append(path.exists())
            enough.wait(10)

    with hold(path):
        thread = threading.Thread(target=wait)
        thread.start()
        waits.wait(10)
        thread.join(0.1)
        assert not seen
        path.parent.rename(tmp_path / "gone")
        shutil.rmtree(tmp_path / "gone")
    while thread.is_alive() and not seen:
        thread.join(0.01)
    with pytest.raises(BlockingIOError), hold(path):
        raise AssertionError
    enough.set()
    thread.join(10)
    assert seen == [True]


def test_waiting_for_what_is_removed_again_and_again_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with pytest.raises(OSError, match="a'") as error, hold(tmp_path / "a"):
        raise AssertionError
    assert error.value.errno == errno.ESTALE


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder in which none can be made, whoever asks")
def test_folder_that_cannot_be_made_is_an_error_and_no_endless_wait() -> None:
    for wait in (True, False):
        with pytest.raises(FileNotFoundError), hold(Path("/proc/none/a"), wait=wait):
            raise AssertionError
    with locked(Path("/proc/none")):  # said by who writes there
        pass


def test_child_processes_do_not_keep_a_lock(tmp_path: Path) -> None:
    read, write = os.pipe()
    with hold(tmp_path / "a"):
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
    with hold(tmp_path / "a"):
        pass
    os.close(write)
    os.close(read)
    os.waitpid(child, 0)


def test_the_name_of_a_new_file_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[list[str]] = []

    def spy(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            synced.append([path.name for path in tmp_path.iterdir()])

    monkeypatch.setattr(os, "fsync", spy)
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
    assert synced == [["a"]]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_file_systems_that_sync_no_folders_are_left_alone(tmp_path: Path, monkeypatch, number: int) -> None:
    def fail(_: int) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(os, "fsync", fail)
    if number == errno.EINVAL:
        sync_folder(tmp_path)
    else:
        with pytest.raises(OSError, match="5"):
            sync_folder(tmp_path)


def test_interrupted_file_is_gone_on_with_if_there_is_any_of_it(tmp_path: Path) -> None:
    def write(data: bytes, error: bool) -> None:
        with replacing(tmp_path / "a", resume=True) as file:
            file.write(data)
            file.flush()
            if error:
                raise KeyboardInterrupt

    for data, left in ((b"", []), (b"one ", ["a.partial"]), (b"two ", ["a.partial"])):
        with pytest.raises(KeyboardInterrupt):
            write(data, True)
        assert [path.name for path in tmp_path.iterdir()] == left
    (tmp_path / "c.partial").write_bytes(b"of a killed process")
    with replacing(tmp_path / "c"):
        pass
    assert not (tmp_path / "c").read_bytes()
    write(b"three", False)
    assert sorted((p.name, p.read_bytes()) for p in tmp_path.iterdir()) == [("a", b"one two three"), ("c", b"")]
