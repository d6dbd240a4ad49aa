"""pandas, pyarrow and Dask read a registry by `datareg://`, as their users would write it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import dask.config
import dask.dataframe
import fsspec
import numpy
import pandas
import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
from dask.base import compute

import git_datareg
from git_datareg import api
from git_datareg.filesystem import DataregFileSystem
from git_datareg.storage.local import LocalStorage
from tests.support.githttp import serve
from tests.support.gitrun import Git

ROWS = 200_000
COLUMNS = "abcdefgh"


class Tables(NamedTuple):
    """A registry with tables, and how it is asked for."""

    remote: Git
    work: Git

    @property
    def options(self) -> dict[str, str]:
        return {"repo": str(self.remote.path)}

    def publish(self, message: str) -> None:
        self.work.commit_all(message)
        self.work.run("push", "--quiet", "origin", "HEAD:main")

    def write_part(self, number: int, amount: int) -> None:
        lines = [f"{row},{amount}" for row in range(number * 10, number * 10 + 10)]
        self.work.write(f"csv/part-{number}.csv", "\n".join(["row,amount", *lines, ""]).encode())


def large_table() -> pandas.DataFrame:
    """A table of 13 MB, of numbers that do not shrink."""
    random = numpy.random.default_rng(1)
    columns = {"n": numpy.arange(ROWS)} | {name: random.random(ROWS) for name in COLUMNS}
    return pandas.DataFrame(columns)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    directory = tmp_path_factory.mktemp("tables")
    found = Tables(Git(directory / "tables.git").init("--bare"), Git(directory / "work").init())
    work = found.work
    work.run("remote", "add", "origin", "../tables.git")
    work.run("datareg", "init")
    work.run("datareg", "storage", "add", "-d", "disk", str(directory / "disk"))
    (directory / "disk").mkdir()
    work.run("datareg", "track", "*.csv", "*.parquet")
    for number in range(3):
        found.write_part(number, 1)
    large_table().to_parquet(
        work.path / "large.parquet", compression=None, row_group_size=ROWS // 8
    )
    for year in (2023, 2024):
        part = work.path / f"sales/year={year}/part.parquet"
        part.parent.mkdir(parents=True)
        pandas.DataFrame({"amount": [year, year + 1]}).to_parquet(part)
    found.publish("first")
    return found


@pytest.fixture(autouse=True)
def fresh_instances() -> Iterator[None]:
    DataregFileSystem.clear_instance_cache()
    yield
    DataregFileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    """Two processes that are made as Dask makes them; to start them takes seconds."""
    with (
        pytest.MonkeyPatch.context() as patch,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
    ):
        # As compiled when they were installed; to compile them again takes half a minute.
        patch.delenv("PYTHONPYCACHEPREFIX", raising=False)
        for started in [pool.submit(os.getpid) for _ in range(2)]:
            started.result()
        with dask.config.set(scheduler="processes", pool=pool):
            yield pool


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each request to the storage was for."""
    found = []
    real = LocalStorage.open

    def open(self: LocalStorage, key: str, offset: int = 0, length: int | None = None) -> object:
        if key.startswith("objects/"):
            found.append(-1 if length is None else length)
        return real(self, key, offset, length)

    monkeypatch.setattr(LocalStorage, "open", open)
    return found


def test_pandas_reads_csv(tables: Tables) -> None:
    url = "datareg://csv/part-1.csv"
    found = pandas.read_csv(url, storage_options=tables.options)
    assert found["row"].tolist() == list(range(10, 20))
    pieces = pandas.read_csv(url, storage_options=tables.options, chunksize=4)
    assert [len(piece) for piece in pieces] == [4, 4, 2]
    with api.open("csv/part-1.csv", **tables.options) as stream:
        assert pandas.read_csv(stream).equals(found)
    with pytest.raises(FileNotFoundError):
        pandas.read_csv("datareg://csv/none.csv", storage_options=tables.options)


def test_pandas_reads_columns_of_parquet_by_ranges(tables: Tables, asked: list[int]) -> None:
    found = pandas.read_parquet(
        "datareg://large.parquet", columns=["n"], storage_options=tables.options
    )
    assert found["n"].sum() == ROWS * (ROWS - 1) // 2
    assert -1 not in asked
    assert 0 < sum(asked) < 10 * 1024 * 1024


def test_pandas_reads_all_of_parquet_from_a_stream(tables: Tables) -> None:
    with api.open("large.parquet", mode="rb", **tables.options) as stream:
        assert pandas.read_parquet(stream).equals(large_table())


def test_pyarrow_reads_one_row_group_and_column(tables: Tables, asked: list[int]) -> None:
    fs = fsspec.filesystem("datareg", **tables.options)
    dataset = pyarrow.dataset.dataset("large.parquet", filesystem=fs, format="parquet")
    found = dataset.to_table(columns=["c"], filter=pyarrow.dataset.field("n") < 5)
    assert found["c"].to_pylist() == large_table()["c"][:5].tolist()
    assert -1 not in asked
    assert 0 < sum(asked) < fs.size("large.parquet") // 2


def test_pyarrow_reads_a_directory_as_a_data_set(tables: Tables) -> None:
    fs = fsspec.filesystem("datareg", **tables.options)
    dataset = pyarrow.dataset.dataset("sales", filesystem=fs, format="parquet", partitioning="hive")
    assert len(dataset.files) == 2
    found = dataset.to_table(filter=pyarrow.dataset.field("year") == 2024)
    assert found["amount"].to_pylist() == [2024, 2025]


def test_pyarrow_reads_by_its_own_interface(tables: Tables) -> None:
    fs = pyarrow.fs.PyFileSystem(
        pyarrow.fs.FSSpecHandler(fsspec.filesystem("datareg", **tables.options))
    )
    assert pyarrow.parquet.read_metadata("large.parquet", filesystem=fs).num_row_groups == 8
    infos = fs.get_file_info(pyarrow.fs.FileSelector("sales", recursive=True))
    assert sum(info.is_file for info in infos) == 2
    assert fs.get_file_info("none").type == pyarrow.fs.FileType.NotFound
    with fs.open_input_file("csv/part-0.csv") as file:
        assert file.read_at(3, 4) == b"amo"
    with pytest.raises(OSError, match="only read"):
        fs.create_dir("new")


def test_dask_reads_one_commit_from_worker_processes(tables: Tables, workers: Executor) -> None:
    frame = dask.dataframe.read_csv("datareg://csv/*.csv", storage_options=tables.options)
    assert frame.npartitions == 3
    # What is published from here on is nothing to the workers.
    tables.write_part(2, 1000)
    tables.publish("another amount")
    pids = frame.map_partitions(lambda part: pandas.Series([os.getpid()]), meta=(None, "int64"))
    total, found = compute(frame["amount"].sum(), pids)
    assert total == 30
    assert os.getpid() not in set(found)
    tables.write_part(2, 1)
    tables.publish("the first amount")


def test_dask_reads_parts_of_a_large_file_in_processes(tables: Tables, workers: Executor) -> None:
    frame = dask.dataframe.read_parquet(
        "datareg://large.parquet",
        columns=["n"],
        split_row_groups=2,
        storage_options=tables.options,
    )
    assert frame.npartitions == 4
    assert frame["n"].sum().compute() == sum(range(ROWS))


def test_faults_come_back_from_worker_processes(tables: Tables, workers: Executor) -> None:
    fs = fsspec.filesystem("datareg", **tables.options)
    assert workers.submit(fs.cat_file, "csv/part-0.csv", 0, 3).result() == b"row"
    for use in (fs.cat, fs.info):
        with pytest.raises(git_datareg.PathNotFoundError, match="none"):
            workers.submit(use, "none").result()


def test_a_registry_by_http_is_read_by_all_of_them(tables: Tables, workers: Executor) -> None:
    with serve(tables.remote.path.parent) as url:
        options = {"repo": f"{url}/tables.git", "rev": "main"}
        found = pandas.read_csv("datareg://csv/part-0.csv", storage_options=options)
        assert found["row"].tolist() == list(range(10))
        fs = fsspec.filesystem("datareg", **options)
        dataset = pyarrow.dataset.dataset("sales", filesystem=fs, format="parquet")
        assert dataset.count_rows() == 4
        frame = dask.dataframe.read_csv("datareg://csv/*.csv", storage_options=options)
        assert frame["row"].sum().compute() == sum(range(30))


def test_the_storage_is_a_directory_that_all_can_reach(tables: Tables) -> None:
    assert Path(api.get_url("large.parquet", **tables.options)).is_file()
