"""Point-in-time features of 10 M events end to end, Parquet to Parquet, beside Polars and DuckDB.

    cargo build --release && python3 bench/features/compare.py [--events N] [--spine N] [--rounds N]

Makes the data, runs each engine in a process of its own, one after the other in each round, and prints the medians of
CPU and wall seconds and of the largest memory, then how far the values differ. Polars, DuckDB and what they need come
by pip, in the versions of requirements.txt, into an environment outside the repository.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import venv

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "paceline"
PEERS = ["polars rolling", "polars rolling_by", "duckdb"]

PIPELINE = """
name = "bench"

[sources.events]
path = "events.parquet"
event_time = "time"
time_unit = "us"

[features.user]
source = "events"
entity = ["user_id"]
placement = "request"
"""


def enter_environment():
    """Runs this script again with the Python that has the peers."""
    home = CACHE / "bench-features"
    python = home / "bin" / "python"
    if pathlib.Path(sys.prefix) == home:
        return
    if not python.exists():
        venv.create(home, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", HERE / "requirements.txt"]
    subprocess.run(install, check=True)
    os.execv(python, [python, *sys.argv])


def write_data(folder, events, spine, entities, days):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(1)
    span = days * 86_400_000_000

    def users(count):
        # Few have many events: the square of a uniform number.
        return (random.random(count) ** 2 * entities).astype(np.int64)

    times = np.sort(random.integers(0, span, events))
    table = {"user_id": users(events), "time": times, "amount": random.integers(1, 100_000, events) / 100}
    pq.write_table(pa.table(table), folder / "events.parquet")
    pq.write_table(pa.table({"user_id": users(spine), "time": random.integers(0, span, spine)}), folder / "spine.parquet")
    lines = [PIPELINE]
    for window in ["1h", "7d", "30d"]:
        for aggregate in ["count", "sum", "mean", "last"]:
            of = "" if aggregate == "count" else ', of = "amount"'
            lines.append(f'{aggregate}_{window} = {{ agg = "{aggregate}"{of}, window = "{window}" }}')
    (folder / "pipeline.toml").write_text("\n".join(lines) + "\n")


def run(command, folder):
    """CPU seconds, wall seconds and the largest memory in MiB of a process."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status != 0:
        sys.exit(f"{command} ended with status {status}")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def differences(folder, out, peer):
    """The number of unequal counts, and the largest relative difference of other values."""
    import numpy as np
    import pyarrow.parquet as pq

    ours, theirs = pq.read_table(folder / out), pq.read_table(folder / peer)
    unequal, largest = 0, 0.0
    for name in theirs.column_names:
        if name in ("user_id", "time"):
            continue
        a = ours[f"user.{name}"].to_numpy(zero_copy_only=False).astype(float)
        b = theirs[name].to_numpy(zero_copy_only=False).astype(float)
        if name.startswith("count"):
            unequal += int((a != np.nan_to_num(b)).sum())
            continue
        if name.startswith("sum"):
            # Over no row a sum is null here and in SQL; in Polars it is 0, or what rounding left.
            b = np.where(np.isnan(a) & (np.abs(b) < 1e-6), np.nan, b)
        if (np.isnan(a) != np.isnan(b)).any():
            sys.exit(f"{peer}: {name} is null in other rows")
        known = ~np.isnan(a)
        largest = max(largest, float((np.abs(a - b)[known] / np.maximum(1, np.abs(a[known]))).max(initial=0)))
    return unequal, largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--spine", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default=None, help="the paceline binary; by default that of cargo build --release")
    arguments = parser.parse_args()
    enter_environment()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "target"))
    binary = pathlib.Path(arguments.binary or target / "release" / "paceline").resolve()
    if not binary.exists():
        sys.exit(f"{binary} is not there: cargo build --release with CARGO_TARGET_DIR={target}, or name it with --binary")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_data(folder, arguments.events, arguments.spine, arguments.entities, arguments.days)
        build = [binary, "features", "build", "pipeline.toml", "--spine", "spine.parquet", "--time-unit", "us"]
        build += ["--threads", str(os.cpu_count()), "--memory-mb", "4096"]
        commands = {"paceline": [*build, "--out", "paceline.parquet"]}
        for peer in PEERS:
            commands[peer] = [sys.executable, HERE / "peers.py", peer, "events.parquet", "spine.parquet", f"{peer}.parquet"]
        measured = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                measured[name].append(run(command, folder))
        medians = {name: [statistics.median(column) for column in zip(*rounds)] for name, rounds in measured.items()}
        ours = medians["paceline"][0]
        print(f"{arguments.events} events, {arguments.spine} spine rows, {arguments.entities} entities, {arguments.days} days,")
        print(f"12 values, {os.cpu_count()} threads, median of {arguments.rounds} rounds")
        print(f"{'':<20}{'CPU s':>8}{'wall s':>8}{'MiB':>8}{'CPU ratio':>11}  unequal counts, largest difference")
        for name, (cpu, wall, memory) in medians.items():
            line = f"{name:<20}{cpu:>8.2f}{wall:>8.2f}{memory:>8.0f}{cpu / ours:>11.2f}"
            if name != "paceline":
                unequal, largest = differences(folder, "paceline.parquet", f"{name}.parquet")
                line += f"  {unequal}, {largest:.1e}"
            print(line)


if __name__ == "__main__":
    main()
