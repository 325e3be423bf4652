//! A report as a real run would write it, for the tests of the pages. The names contain markup on purpose.

use super::types::*;

pub(super) fn interval(low: f64, high: f64) -> Interval {
    Interval { low, high }
}

fn latency(p50: f64, p99: f64) -> Latency {
    Latency { p50, p99, mean: 1.04 * p50 }
}

fn step(name: &str, what: &str, p50: f64, p99: f64, metric: f64, retention: (f64, f64, f64), bytes: u64) -> Step {
    Step {
        step: name.into(),
        what: what.into(),
        latency_ms: latency(p50, p99),
        rps: 1_000.0 / (1.04 * p50),
        metric,
        ci: interval(metric - 0.0102, metric + 0.0105),
        retention: retention.1,
        retention_ci: interval(retention.0, retention.2),
        bytes,
    }
}

fn list(days: u64, place: &str, p50: f64, metric: f64, retention: (f64, f64, f64)) -> Precomputed {
    Precomputed {
        age_s: days * 86_400,
        place: place.into(),
        latency_ms: latency(p50, 2.2 * p50),
        metric,
        ci: interval(metric - 0.0095, metric + 0.0097),
        retention: retention.1,
        retention_ci: interval(retention.0, retention.2),
    }
}

fn rejected(candidate: &str, reason: &str, p50: f64, metric: f64, retention: (f64, f64, f64)) -> Rejected {
    Rejected {
        candidate: candidate.into(),
        reason: reason.into(),
        because: Some(if retention.0 < 0.97 { RejectedBecause::BelowFloor } else { RejectedBecause::NotFaster }),
        latency_ms: Some(latency(p50, 1.5 * p50)),
        metric: Some(metric),
        ci: Some(interval(metric - 0.0099, metric + 0.0099)),
        retention: Some(retention.1),
        retention_ci: Some(interval(retention.0, retention.2)),
        bytes: Some(412_000),
    }
}

fn part(role: SliceRole, from: &str, until: &str, units: u64) -> SplitPart {
    let time = |text: &str| Some(text.parse().expect("a time"));
    SplitPart { role, from: time(from), until: time(until), units }
}

fn slice(name: &str, role: SliceRole, units: u64, reference: f64, retention: f64) -> SliceResult {
    let judged = |step: &str, retention: f64| SliceStep {
        step: step.into(),
        metric: reference * retention,
        ci: interval(reference * retention - 0.0125, reference * retention + 0.0125),
        retention,
        retention_ci: interval(retention - 0.041, retention + 0.043),
    };
    let steps = vec![
        judged("batch features", 1.0),
        judged("candidates", retention),
        judged("compiled forest", retention - 0.002),
    ];
    SliceResult { name: name.into(), role, units, reference, steps }
}

fn row(metric: &str, teacher: f64, chosen: f64) -> MetricRow {
    let figure = |value: f64| Figure { value, ci: interval(0.94 * value, 1.06 * value) };
    MetricRow { metric: metric.into(), teacher: figure(teacher), chosen: Some(figure(chosen)) }
}

/// Held, everything filled in.
pub(super) fn held() -> Report {
    Report {
        schema: REPORT_SCHEMA,
        pipeline: "retail <b>gifts</b> & \"more\"".into(),
        task: "recommend".into(),
        written_at: "2026-03-02T10:41:07Z".parse().expect("a time"),
        data: Data {
            sources: vec![SourceData {
                name: "sales".into(),
                path: "transactions.parquet".into(),
                digest: "6f1c0e3a9b7d".into(),
                rows: 1_067_370,
                rows_used: 802_632,
                first: Some("2009-12-01T07:45:00Z".parse().expect("a time")),
                last: Some("2011-12-09T12:50:00Z".parse().expect("a time")),
            }],
            entities: [("user_id".to_owned(), 5_852), ("item_id".to_owned(), 4_619)].into(),
        },
        split: Split {
            by: SplitBy::Time,
            unit: "users".into(),
            parts: vec![
                part(SliceRole::Fit, "2009-12-01", "2011-06-01", 5_204),
                part(SliceRole::Tune, "2011-06-01", "2011-10-01", 3_391),
                part(SliceRole::Report, "2011-10-01", "2011-11-01", 1_047),
                part(SliceRole::Report, "2011-11-01", "2011-12-09", 1_338),
            ],
        },
        budget: Budget { keep: 0.97, p99_ms: 35.0, memory_mb_max: None, rps_min: None, bytes_max: Some(64 << 20) },
        held: true,
        nearest_misses: Vec::new(),
        judged_on: SliceRole::Report,
        teacher: Teacher {
            metric: "ndcg@10".into(),
            value: 0.1312,
            ci: interval(0.1209, 0.1417),
            what: "boosted trees 300 x 63, extra trees, network, ALS; weights 0.5, 0.2, 0.2, 0.1".into(),
        },
        reference: Reference { name: "teacher".into(), value: 0.1312, ci: interval(0.1209, 0.1417) },
        baseline: Some(Baseline {
            name: "popularity of the last 7 days".into(),
            value: 0.0677,
            ci: interval(0.0601, 0.0756),
            retention: 0.516,
        }),
        ladder: vec![
            step(
                "as written",
                "Every feature computed on request, full ensemble over the whole catalogue",
                451.0,
                533.0,
                0.1312,
                (1.0, 1.0, 1.0),
                41_800_000,
            ),
            step(
                "batch features",
                "Features of users and items read from the online store",
                178.0,
                204.0,
                0.1312,
                (0.998, 1.0, 1.002),
                41_800_000,
            ),
            step(
                "candidates",
                "206 candidates from ALS, item-to-item and recent baskets instead of 4,619 items",
                8.3,
                11.2,
                0.1309,
                (0.982, 0.998, 1.013),
                44_100_000,
            ),
            step(
                "distilled forest",
                "One student forest 100 x 31 in place of the ensemble",
                1.94,
                2.61,
                0.1301,
                (0.974, 0.992, 1.011),
                6_200_000,
            ),
            step(
                "compiled forest",
                "The same trees, compiled to a flat layout and scored in blocks",
                0.412,
                0.561,
                0.1301,
                (0.974, 0.992, 1.011),
                5_900_000,
            ),
        ],
        chosen: Some("compiled forest".into()),
        precomputed: vec![
            list(1, "in process", 0.000_62, 0.1247, (0.931, 0.950, 0.972)),
            list(1, "redis", 0.071, 0.1247, (0.931, 0.950, 0.972)),
            list(7, "in process", 0.000_62, 0.1158, (0.853, 0.883, 0.912)),
            list(30, "in process", 0.000_62, 0.1119, (0.818, 0.853, 0.889)),
        ],
        rejected: vec![
            rejected(
                "student network 64-32, whole catalogue",
                "retention's lower end 0.861 is below the floor 0.97",
                2.4,
                0.1196,
                (0.861, 0.912, 0.958),
            ),
            rejected(
                "student forest 30 x 15",
                "retention's lower end 0.902 is below the floor 0.97",
                0.213,
                0.1229,
                (0.902, 0.937, 0.969),
            ),
            rejected(
                "similarity cache, cosine 0.9",
                "0.8 % hits: not faster than ranking here",
                0.409,
                0.1300,
                (0.972, 0.991, 1.010),
            ),
            Rejected {
                because: Some(RejectedBecause::Outrun),
                ..rejected(
                    "450 candidates",
                    "holds the floor, but candidates is faster: p50 8.30 ms against 15.9 ms",
                    15.9,
                    0.1310,
                    (0.985, 0.999, 1.012),
                )
            },
            rejected(
                "two-tower, exact scan",
                "retention's lower end 0.834 is below the floor 0.97",
                0.074,
                0.1193,
                (0.834, 0.909, 0.991),
            ),
            Rejected {
                candidate: "int8 network <script>".into(),
                reason: "no faster than f32 on this machine (2.41 against 2.40 ms)".into(),
                ..Rejected::default()
            },
        ],
        features: Features {
            total: 38,
            batch: 31,
            stream: 3,
            request: 4,
            share_of_compute_moved_to_batch: 0.954,
            cpu_ms_as_written: Some(283.0),
            cpu_ms_as_served: Some(0.041),
        },
        machine: Machine {
            cpu: "Intel Xeon Platinum 8481C".into(),
            cores: 2,
            memory_bytes: 25_200_000_000,
            os: "Linux 6.1".into(),
        },
        versions: [("paceline".to_owned(), "0.1.0".to_owned()), ("lightgbm".to_owned(), "4.6.0".to_owned())].into(),
        seed: 1,
        report_slice_opened: 1,
        http_latency_ms: Some(latency(0.58, 1.31)),
        metrics: vec![
            row("recall@10", 0.0912, 0.0905),
            row("mrr@10", 0.2511, 0.2490),
            row("coverage@10", 0.331, 0.352),
        ],
        slices: vec![
            slice("2011-07", SliceRole::Tune, 811, 0.1187, 0.994),
            slice("2011-08", SliceRole::Tune, 824, 0.1203, 0.989),
            slice("2011-09", SliceRole::Tune, 1_012, 0.1255, 0.997),
            slice("2011-10", SliceRole::Report, 1_047, 0.1312, 0.994),
            slice("2011-11", SliceRole::Report, 1_338, 0.1238, 0.986),
        ],
        commands: vec!["paceline run examples/retail/pipeline.toml --out out/retail".into()],
    }
}

/// Nothing cheaper holds the floor.
pub(super) fn not_held() -> Report {
    let mut report = held();
    report.held = false;
    report.chosen = None;
    report.ladder.truncate(2);
    report.nearest_misses = vec![
        Miss {
            candidate: "candidates, then forest 100 x 31".into(),
            bound: "keep".into(),
            required: 0.97,
            reached: 0.951,
        },
        Miss { candidate: "batch features".into(), bound: "p99_ms".into(), required: 35.0, reached: 204.0 },
    ];
    report.precomputed.clear();
    report.http_latency_ms = None;
    report.baseline = None;
    for row in &mut report.metrics {
        row.chosen = None;
    }
    report.slices.clear();
    report
}

/// Held on the tuning slice, the report slice closed.
pub(super) fn closed() -> Report {
    let mut report = held();
    report.judged_on = SliceRole::Tune;
    report.report_slice_opened = 0;
    report.slices.truncate(3);
    report
}
