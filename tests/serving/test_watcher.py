"""What is served follows what lies in the folders, and no request is lost on the way."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.dummy import DummyRegressor

from skbig.exceptions import ModelFileError
from skbig.serving import Limits, Trust
from skbig.serving.api import Api
from skbig.serving.watcher import Watcher
from tests.serving.clients import Client, running


def write(path: Path, value: float) -> None:
    """Put a model in place that always answers with the value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = DummyRegressor(strategy="constant", constant=value).fit(np.zeros((2, 1)), [0.0, 1.0])
    skops.io.dump(model, path.parent / ".unfinished")
    os.replace(path.parent / ".unfinished", path)


class World:
    """A folder, a watcher of it, and what is served."""

    def __init__(self, *paths: Path, n_versions: int = 1) -> None:
        self.api = Api(Limits(), None)
        self.watcher = Watcher(
            paths, self.api.registry, self.api.served, name=None, n_versions=n_versions, trust=Trust(), n_threads=1
        )

    async def looks(self, n: int = 2) -> None:
        """Look twice, after which every change that has settled is served."""
        for _ in range(n):
            await self.watcher.update()

    async def served(self) -> dict[tuple[str, int], float]:
        """Return what each model answers."""
        answers = {}
        for served in self.api.registry.all():
            with served.thread.held():
                outputs = await served.thread.run({"X": np.zeros((1, 1))}, ("predict",))
            answers[served.key] = float(outputs["predict"][0])
        return answers


def play(scene: Callable[[World], Any], *paths: Path, **options: Any) -> None:
    """Start to watch, play a scene, and let go."""

    async def run() -> None:
        world = World(*paths, **options)
        try:
            await world.watcher.start()
            await scene(world)
        finally:
            world.api.close()

    asyncio.run(run())


def test_new_models_are_served_when_they_have_settled(tmp_path: Path) -> None:
    """A file that has come is served after the second look, and one that has gone is not, after the second."""
    write(tmp_path / "a.skops", 1.0)

    async def scene(world: World) -> None:
        assert await world.served() == {("a", 1): 1.0}
        write(tmp_path / "b.skops", 2.0)
        await world.looks(1)
        assert await world.served() == {("a", 1): 1.0}
        await world.looks(1)
        assert await world.served() == {("a", 1): 1.0, ("b", 1): 2.0}
        (tmp_path / "a.skops").unlink()
        await world.looks(1)
        assert await world.served() == {("a", 1): 1.0, ("b", 1): 2.0}
        await world.looks(1)
        assert await world.served() == {("b", 1): 2.0}

    play(scene, tmp_path)


def test_a_replaced_file_is_served_anew(tmp_path: Path) -> None:
    """A file with another content takes the place of the old one, also where it was named itself."""
    write(tmp_path / "a.skops", 1.0)

    async def scene(world: World) -> None:
        write(tmp_path / "a.skops", 2.0)
        await world.looks()
        assert await world.served() == {("a", 1): 2.0}

    play(scene, tmp_path)
    play(scene, tmp_path / "a.skops")


def test_the_newest_versions_are_served(tmp_path: Path) -> None:
    """As many versions as wanted are served, the newest; when one goes, an older one comes back."""
    for version in (1, 2, 10):
        write(tmp_path / "a" / str(version) / "model.skops", float(version))

    async def scene(world: World) -> None:
        assert (await world.served()).keys() == {("a", 2), ("a", 10)}
        write(tmp_path / "a" / "11" / "model.skops", 11.0)
        await world.looks()
        assert (await world.served()).keys() == {("a", 10), ("a", 11)}
        assert world.api.registry.find("a", None).version == 11
        shutil.rmtree(tmp_path / "a" / "11")
        await world.looks()
        assert await world.served() == {("a", 2): 2.0, ("a", 10): 10.0}

    play(scene, tmp_path, n_versions=2)


def test_an_older_version_is_served_until_the_new_one_is_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A version that cannot be loaded is logged once, and tried again when it has changed."""
    write(tmp_path / "a" / "1" / "model.skops", 1.0)

    async def scene(world: World) -> None:
        broken = tmp_path / "a" / "2" / "model.skops"
        broken.parent.mkdir()
        broken.write_bytes(b"half a model")
        await world.looks(4)
        assert await world.served() == {("a", 1): 1.0}
        assert caplog.text.count("cannot be loaded") == 1
        write(broken, 2.0)
        await world.looks()
        assert await world.served() == {("a", 2): 2.0}

    with caplog.at_level(logging.ERROR):
        play(scene, tmp_path)


def test_a_file_that_is_being_written_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that grows between two looks is left alone until it stays as it is, and so is what is served."""
    write(tmp_path / "a.skops", 1.0)
    write(tmp_path / "whole" / "a.skops", 2.0)
    whole = (tmp_path / "whole" / "a.skops").read_bytes()
    shutil.rmtree(tmp_path / "whole")

    async def scene(world: World) -> None:
        for size in (10, 500, len(whole)):
            (tmp_path / "a.skops").write_bytes(whole[:size])
            await world.looks(1)
            assert await world.served() == {("a", 1): 1.0}
        await world.looks(1)
        assert await world.served() == {("a", 1): 2.0}

    play(scene, tmp_path)
    assert not caplog.records


def test_a_file_that_was_named_must_be_right(tmp_path: Path) -> None:
    """What was named and cannot be served ends the start; what lies in a folder is passed over."""

    async def never(world: World) -> None:
        raise AssertionError("It has started.")

    with pytest.raises(ModelFileError, match="There is no file or folder"):
        play(never, tmp_path / "gone.skops")
    (tmp_path / "a.skops").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match="a.skops cannot be loaded"):
        play(never, tmp_path / "a.skops")
    write(tmp_path / "b.skops", 2.0)

    async def scene(world: World) -> None:
        assert await world.served() == {("b", 1): 2.0}

    play(scene, tmp_path)


def test_no_request_is_lost_while_models_are_swapped(tmp_path: Path) -> None:
    """Under requests without a pause, every one is answered by one version, and the last by the last."""
    write(tmp_path / "a" / "1" / "model.skops", 1.0)
    answers: list[list[float]] = [[], [], []]

    def hammer(port: int, mine: list[float], last: float) -> None:
        client = Client(port)
        while not mine or mine[-1] != last:
            mine.append(client.predict("a", instances=[[0.0]])["predictions"][0])
        client.close()

    with running(tmp_path, poll=0.01) as client:
        threads = [threading.Thread(target=hammer, args=(client.port, mine, 5.0)) for mine in answers]
        for thread in threads:
            thread.start()
        for version in (2, 3, 4, 5):
            write(tmp_path / "a" / str(version) / "model.skops", float(version))
            while all(thread.is_alive() for thread in threads) and answers[0][-1:] != [float(version)]:
                threads[0].join(0.005)
        for thread in threads:
            thread.join()
    for mine in answers:
        assert mine == sorted(mine)
        assert {*mine} <= {1.0, 2.0, 3.0, 4.0, 5.0}
        assert mine[-1] == 5.0
