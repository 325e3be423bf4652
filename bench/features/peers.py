"""The same window values by Polars and by DuckDB: `peers.py ENGINE EVENTS SPINE OUT`, Parquet to Parquet.

Each engine gets the union of events and spine rows, the spine rows without an amount, and aggregates over [t - w, t).
Both read and write with their defaults and as many threads as the machine has.
"""

import sys

WINDOWS = {"1h": 3_600_000_000, "7d": 7 * 86_400_000_000, "30d": 30 * 86_400_000_000}


def polars_rolling(events, spine, out):
    """One `rolling` a window. `last` of the events alone, since the spine's rows have no amount."""
    import polars as pl

    rows = pl.concat(
        [
            pl.scan_parquet(events).select("user_id", "time", "amount", row=pl.lit(None, pl.Int64)),
            pl.scan_parquet(spine).select(
                "user_id", "time", amount=pl.lit(None, pl.Float64), row=pl.int_range(pl.len(), dtype=pl.Int64)
            ),
        ]
    ).sort("user_id", "time", maintain_order=True).collect()
    result = pl.read_parquet(spine)
    keep = rows["row"].is_not_null()
    order = rows.filter(keep)["row"]
    for name, micros in WINDOWS.items():
        amount = pl.col("amount")
        values = (
            rows.rolling(index_column="time", period=f"{micros}i", closed="left", group_by="user_id")
            .agg(
                amount.count().alias(f"count_{name}"),
                amount.sum().alias(f"sum_{name}"),
                amount.mean().alias(f"mean_{name}"),
                amount.drop_nulls().last().alias(f"last_{name}"),
            )
            .filter(keep)
            .drop("user_id", "time")
            .with_columns(row=order)
            .sort("row")
            .drop("row")
        )
        result = result.hstack(values)
    result.write_parquet(out)


def polars_by(events, spine, out):
    """`rolling_*_by` over each entity, which Polars has for sums and means; `last` by an as-of join and the age of what
    it finds, since the newest event before t is in every window that reaches it."""
    import polars as pl

    source = pl.scan_parquet(events).select("user_id", "time", "amount")
    rows = pl.concat(
        [
            source.with_columns(row=pl.lit(None, pl.Int64)),
            pl.scan_parquet(spine).select(
                "user_id", "time", amount=pl.lit(None, pl.Float64), row=pl.int_range(pl.len(), dtype=pl.Int64)
            ),
        ]
    ).sort("user_id", "time", maintain_order=True)
    is_event = pl.col("amount").is_not_null().cast(pl.Float64)
    columns = []
    for name, micros in WINDOWS.items():
        window = dict(by="time", window_size=f"{micros}i", closed="left")
        columns += [
            is_event.rolling_sum_by(**window).over("user_id").cast(pl.Int64).alias(f"count_{name}"),
            pl.col("amount").rolling_sum_by(**window).over("user_id").alias(f"sum_{name}"),
            pl.col("amount").rolling_mean_by(**window).over("user_id").alias(f"mean_{name}"),
        ]
    values = rows.with_columns(columns).filter(pl.col("row").is_not_null()).sort("row").collect()
    result = values.drop("row", "amount")
    newest = (
        pl.scan_parquet(spine)
        .with_row_index("row")
        .sort("time")
        .join_asof(
            source.rename({"time": "at"}).sort("at"),
            left_on="time",
            right_on="at",
            by="user_id",
            strategy="backward",
            allow_exact_matches=False,
        )
        .sort("row")
        .collect()
    )
    for name, micros in WINDOWS.items():
        within = newest["time"] - newest["at"] <= micros
        result = result.with_columns(newest["amount"].zip_with(within.fill_null(False), pl.repeat(None, len(newest), dtype=pl.Float64, eager=True)).alias(f"last_{name}"))
    result.write_parquet(out)


def duckdb(events, spine, out):
    """One window frame each; ids and times as integers, so that frames are ranges of integers."""
    import duckdb

    frames, columns = [], []
    for name, micros in WINDOWS.items():
        frame = f"w_{name}"
        frames.append(
            f"{frame} AS (PARTITION BY user_id ORDER BY time RANGE BETWEEN {micros} PRECEDING AND 1 PRECEDING)"
        )
        columns += [
            f"count(amount) OVER {frame} AS count_{name}",
            f"sum(amount) OVER {frame} AS sum_{name}",
            f"avg(amount) OVER {frame} AS mean_{name}",
            f"last_value(amount IGNORE NULLS) OVER {frame} AS last_{name}",
        ]
    duckdb.sql(
        f"""
        COPY (
            SELECT * EXCLUDE (row, amount) FROM (
                SELECT user_id, time, row, amount, {", ".join(columns)}
                FROM (
                    SELECT user_id, time, amount, NULL AS row FROM '{events}'
                    UNION ALL BY NAME
                    SELECT user_id, time, NULL AS amount, file_row_number AS row
                    FROM read_parquet('{spine}', file_row_number = true)
                )
                WINDOW {", ".join(frames)}
            )
            WHERE row IS NOT NULL ORDER BY row
        ) TO '{out}' (FORMAT parquet)
        """
    )


ENGINES = {"polars rolling": polars_rolling, "polars rolling_by": polars_by, "duckdb": duckdb}

if __name__ == "__main__":
    ENGINES[sys.argv[1]](*sys.argv[2:5])
