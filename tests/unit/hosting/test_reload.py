"""Which file of an app has changed: while a watch runs, and between its loading and the watch."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from durable_ext.hosting.local import reload
from durable_ext.hosting.local.reload import app_files, wait_for_change


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "_LOOK_MILLISECONDS", 50)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    for name in ("function_app.py", "host.json", "package/part.py", ".venv/lib/x.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1", encoding="utf-8")
    return tmp_path


def test_the_files_of_an_app_are_its_code_and_settings(app: Path) -> None:
    found = {str(Path(path).relative_to(app)) for path in app_files(app)}

    assert found == {"function_app.py", "host.json", "package/part.py"}


@pytest.mark.parametrize("name", ["function_app.py", "package/part.py", "host.json"])
async def test_a_change_before_the_watch_began_is_seen(app: Path, name: str) -> None:
    loaded = app_files(app)
    (app / name).write_text("2", encoding="utf-8")

    changed = await asyncio.wait_for(wait_for_change(app, loaded), 20)

    assert changed == app / name


@pytest.mark.parametrize("change", ["a new file", "a file less"])
async def test_files_that_come_and_go_before_the_watch_are_seen(app: Path, change: str) -> None:
    loaded = app_files(app)
    file = app / ("new.py" if change == "a new file" else "package/part.py")
    if change == "a new file":
        file.write_text("2", encoding="utf-8")
    else:
        file.unlink()

    assert await asyncio.wait_for(wait_for_change(app, loaded), 20) == file


async def test_a_later_change_is_seen_and_what_does_not_concern_the_app_is_not(app: Path) -> None:
    watch = asyncio.ensure_future(wait_for_change(app, app_files(app)))
    for number in range(100):
        (app / "notes.txt").write_text(str(number), encoding="utf-8")
        (app / ".venv" / "lib" / "x.py").write_text(str(number), encoding="utf-8")
    done, _ = await asyncio.wait((watch,), timeout=0.5)  # it looks ten times
    (app / "package" / "part.py").write_text("2", encoding="utf-8")

    assert not done
    assert await asyncio.wait_for(watch, 20) == app / "package" / "part.py"
