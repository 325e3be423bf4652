"""One million requests on each of two public data sets, replayed through every execution of their features.

    cargo build --release && python3 bench/replay/replay.py --data DIR [--requests N]

DIR holds online-retail-ii/transactions.parquet and nycflights13-100k/{flights,weather}.parquet. Requests are keys of the
data at random times over its whole range, one in twenty with a key that nobody has. `paceline features verify` counts
the values in which two executions differ. Needs pyarrow and numpy.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "paceline"
CASES = {
    "online-retail-ii": (ROOT / "examples/retail/pipeline.toml", ["transactions"], "timestamp", ["user_id", "item_id"]),
    "nycflights13-100k": (
        ROOT / "bench/replay/flights.toml",
        ["flights", "weather"],
        "time_hour",
        ["carrier", "origin", "dest", "tailnum"],
    ),
}


def spine(table, time_column, keys, count):
    """Keys of rows drawn at random, so that they belong together, each at a time of its own."""
    random = np.random.default_rng(1)
    rows = table.take(pa.array(random.integers(0, table.num_rows, count)))
    unknown = pa.array(random.random(count) < 0.05)
    columns = {}
    for key in keys:
        column = rows[key].combine_chunks()
        nobody = pa.scalar("nobody" if not pa.types.is_integer(column.type) else -1, column.type)
        columns[key] = pc.if_else(unknown, nobody, column)
    times = table[time_column]
    low, high = pc.min(times).as_py(), pc.max(times).as_py()
    columns["time"] = pa.array(random.integers(low, high + 1, count) * 1_000_000 + random.integers(0, 1_000_000, count))
    return pa.table(columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--binary", default=None, help="the paceline binary; by default that of cargo build --release")
    arguments = parser.parse_args()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "target"))
    binary = pathlib.Path(arguments.binary or target / "release" / "paceline").resolve()
    differs = 0
    for name, (pipeline, files, time_column, keys) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copy(pipeline, folder / "pipeline.toml")
            for file in files:
                (folder / f"{file}.parquet").symlink_to((arguments.data / name / f"{file}.parquet").resolve())
            table = pq.read_table(folder / f"{files[0]}.parquet")
            pq.write_table(spine(table, time_column, keys, arguments.requests), folder / "spine.parquet")
            started = time.monotonic()
            command = [binary, "features", "verify", "pipeline.toml", "--spine", "spine.parquet", "--time-unit", "us"]
            ended = subprocess.run(command, cwd=folder)
            print(f"{name}: exit {ended.returncode} after {time.monotonic() - started:.0f} s", flush=True)
            differs |= ended.returncode
    sys.exit(differs)


if __name__ == "__main__":
    main()
