//! What every [`OnlineStore`] must do with pushed rows, as assertions.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rand::RngExt;

use paceline_core::online::{OnlineChange, OnlineError, OnlineStore, Pushed, PushedRow};
use paceline_core::{Timestamp, random};

use crate::online_suite::{key, publish_marked};

/// Runs every check on a store that holds no table yet.
///
/// # Panics
/// At the first broken promise.
pub fn check_pushes(store: &dyn OnlineStore) {
    a_pushed_row_stands_until_something_newer_comes(store);
    a_table_needs_no_version(store);
    what_no_store_takes_is_refused(store);
    pushed_rows_are_erased_and_visited(store);
    no_reader_goes_back_in_time(store);
}

/// A row of key number `row` whose value tells its time.
pub fn pushed(row: u32, time: i64) -> PushedRow {
    PushedRow { key: key(row), time: Timestamp(time), value: time.to_be_bytes().to_vec() }
}

/// The time that the value of key number `row` tells, and the one that the store tells of it.
///
/// # Panics
/// When the store fails.
pub fn found(store: &dyn OnlineStore, table: &str, row: u32) -> (Option<i64>, Option<i64>) {
    let read = store.get(table, &[&key(row)]).expect("a read");
    let told = |value: &Vec<u8>| i64::from_be_bytes(value.as_slice().try_into().expect("a marked value"));
    (read.values[0].as_ref().map(told), read.pushed[0].map(|time| time.0))
}

fn push(store: &dyn OnlineStore, table: &str, rows: &[PushedRow]) -> Vec<Pushed> {
    store.push(table, rows).expect("a push")
}

fn older(time: i64) -> Pushed {
    Pushed::Older(Timestamp(time))
}

fn a_pushed_row_stands_until_something_newer_comes(store: &dyn OnlineStore) {
    let table = "pushed";
    assert_eq!(push(store, table, &[]), []);
    publish_marked(store, table, 100, 5).expect("a publish");
    // Later than the version; at its time; before it; of a key that it does not know.
    let rows = [pushed(0, 150), pushed(1, 100), pushed(2, 99), pushed(9, 120)];
    assert_eq!(push(store, table, &rows), [Pushed::Written, Pushed::Written, older(100), Pushed::Written]);
    let check = |row: u32, value: Option<i64>, pushed: Option<i64>| {
        assert_eq!(found(store, table, row), (value, pushed), "key {row}");
    };
    check(0, Some(150), Some(150));
    check(1, Some(100), Some(100));
    check(2, Some(100), None);
    check(3, Some(100), None);
    check(9, Some(120), Some(120));
    assert_eq!(store.as_of(table).expect("a read"), Some(Timestamp(100)), "pushes are no version");

    // An older row after a newer one; the same time; twice in one call, either way round.
    let again = PushedRow { value: 7i64.to_be_bytes().to_vec(), ..pushed(0, 150) };
    let rows = [pushed(0, 149), again, pushed(3, 200), pushed(3, 199), pushed(4, 199), pushed(4, 200)];
    let written = [older(150), Pushed::Written, Pushed::Written, older(200), Pushed::Written, Pushed::Written];
    assert_eq!(push(store, table, &rows), written);
    check(0, Some(7), Some(150));
    check(3, Some(200), Some(200));
    check(4, Some(200), Some(200));

    // A later version takes the place of what is older; what is as old as it stays.
    publish_marked(store, table, 200, 4).expect("a publish");
    check(0, Some(200), None);
    check(9, None, None);
    check(3, Some(200), Some(200));
    check(4, Some(200), Some(200));
    assert_eq!(push(store, table, &[pushed(0, 150), pushed(0, 300)]), [older(200), Pushed::Written]);
    let change = |as_of: i64, changes: Vec<OnlineChange>| {
        let base = store.version(table).expect("a read").expect("a version");
        store.publish_change(table, base, Timestamp(as_of), &mut changes.into_iter()).expect("a change")
    };
    change(250, vec![(key(1), None), (key(0), Some(250i64.to_be_bytes().to_vec()))]);
    check(0, Some(300), Some(300));
    check(1, None, None);
    check(3, Some(200), None);
    change(301, Vec::new());
    check(0, Some(250), None);
    assert_eq!(push(store, table, &[pushed(0, 300)]), [older(301)]);

    for time in [i64::MIN, -5, 0, i64::MAX] {
        assert_eq!(push(store, "pushed-all-times", &[pushed(1, time)]), [Pushed::Written]);
        assert_eq!(found(store, "pushed-all-times", 1), (Some(time), Some(time)));
    }
    let empty = PushedRow { value: Vec::new(), ..pushed(2, 1) };
    assert_eq!(push(store, "pushed-all-times", &[empty]), [Pushed::Written]);
    let read = store.get("pushed-all-times", &[&key(2)]).expect("a read");
    assert_eq!((read.values, read.pushed), (vec![Some(Vec::new())], vec![Some(Timestamp(1))]));
}

fn a_table_needs_no_version(store: &dyn OnlineStore) {
    let table = "pushed-alone";
    assert_eq!(push(store, table, &[pushed(1, 5)]), [Pushed::Written]);
    let read = store.get(table, &[&key(1), &key(2)]).expect("a read");
    assert_eq!((read.as_of, read.pushed), (None, vec![Some(Timestamp(5)), None]));
    assert_eq!(found(store, table, 1), (Some(5), Some(5)));
    assert_eq!(store.version(table).expect("a read"), None);
    publish_marked(store, table, 4, 3).expect("a publish");
    assert_eq!(found(store, table, 1), (Some(5), Some(5)));
    assert_eq!(found(store, table, 2), (Some(4), None));
    assert_eq!(found(store, "pushed-alone-2", 1), (None, None), "tables are independent");
}

fn what_no_store_takes_is_refused(store: &dyn OnlineStore) {
    let bad = |row: PushedRow| {
        let refused = store.push("pushed-guarded", &[pushed(1, 1), row]);
        assert!(matches!(refused, Err(OnlineError::Refused { .. })), "{refused:?}");
        assert_eq!(found(store, "pushed-guarded", 1), (None, None), "nothing of the call is written");
    };
    bad(PushedRow { key: Vec::new(), ..pushed(1, 1) });
    bad(PushedRow { key: vec![1; 60_001], ..pushed(1, 1) });
    bad(PushedRow { value: vec![1; (16 << 20) + 1], ..pushed(1, 1) });
    let refused = store.push("a b", &[pushed(1, 1)]);
    assert!(matches!(refused, Err(OnlineError::Refused { .. })), "{refused:?}");
    let longest = PushedRow { key: vec![1; 60_000], ..pushed(1, 1) };
    assert_eq!(push(store, "pushed-guarded", &[longest]), [Pushed::Written]);
}

fn pushed_rows_are_erased_and_visited(store: &dyn OnlineStore) {
    let table = "pushed-erased";
    push(store, table, &[pushed(1, 5), pushed(2, 50), pushed(3, 50)]);
    publish_marked(store, table, 10, 2).expect("a publish");
    let mut keys = std::collections::BTreeSet::new();
    let mut visit = |key: &[u8]| {
        keys.insert(key.to_vec());
    };
    store.visit_keys(table, &mut visit).expect("a visit");
    assert!([0, 1, 2, 3].iter().all(|row| keys.contains(&key(*row))), "of the version and above it");
    // Of the version, with an outdated push; pushed alone; unknown.
    assert_eq!(store.erase(table, &[&key(1), &key(2), &key(7)]).expect("an erasure"), 2);
    assert_eq!([0, 1, 2, 3].map(|row| found(store, table, row).0), [Some(10), None, None, Some(50)]);
    assert_eq!(push(store, table, &[pushed(2, 11)]), [Pushed::Written], "nothing of it is left to compare with");
    push(store, "pushed-erased-alone", &[pushed(1, 1)]);
    assert_eq!(store.erase("pushed-erased-alone", &[&key(1)]).expect("an erasure"), 1);
    assert_eq!(found(store, "pushed-erased-alone", 1), (None, None));
}

/// Several push, in any order of time, while versions are published; a reader of a key only ever sees later values, and at
/// the end each key has its latest.
fn no_reader_goes_back_in_time(store: &dyn OnlineStore) {
    const SEED: u64 = 20_300_101;
    const KEYS: u32 = 6;
    const PUSHES: usize = 150;
    const TIMES: i64 = 3_000;
    let table = "pushed-contended";
    publish_marked(store, table, 0, KEYS).expect("a publish");
    let latest: Vec<AtomicI64> = (0..KEYS).map(|_| AtomicI64::new(0)).collect();
    let published = AtomicI64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let write = |writer: u64| {
            let mut random = random::stream(SEED, &format!("pusher {writer}"));
            for _ in 0..PUSHES {
                let rows: Vec<PushedRow> =
                    (0..3).map(|_| pushed(random.random_range(0..KEYS), random.random_range(1..TIMES))).collect();
                for (row, outcome) in rows.iter().zip(push(store, table, &rows)) {
                    if outcome == Pushed::Written {
                        let at = (0..KEYS).position(|number| key(number) == row.key).expect("one of the keys");
                        latest[at].fetch_max(row.time.0, Ordering::SeqCst);
                    }
                }
            }
        };
        let publish = || {
            for step in 1..=20 {
                let as_of = step * TIMES / 25;
                let base = store.version(table).expect("a read").expect("a version");
                let mut rows = (0..KEYS).map(|row| (key(row), Some(as_of.to_be_bytes().to_vec())));
                let written = if step % 3 == 0 {
                    publish_marked(store, table, as_of, KEYS)
                } else {
                    store.publish_change(table, base, Timestamp(as_of), &mut rows)
                };
                written.expect("one publisher alone");
                published.store(as_of, Ordering::SeqCst);
            }
        };
        let read = || {
            let mut newest = [0i64; KEYS as usize];
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) || reads == 0 {
                for row in 0..KEYS {
                    let (value, _) = found(store, table, row);
                    let value = value.expect("it is published");
                    let newest = &mut newest[row as usize];
                    assert!(value >= *newest, "seed {SEED}: key {row} went back from {newest} to {value}");
                    *newest = value;
                }
                reads += 1;
            }
        };
        let reader = scope.spawn(read);
        let mut writers: Vec<_> = (0..3).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.push(scope.spawn(publish));
        let written: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // Before the writers' outcome is looked at, so that the reader ends in any case.
        done.store(true, Ordering::Relaxed);
        for outcome in written.into_iter().chain([reader.join()]) {
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    for (row, latest) in (0..KEYS).zip(&latest) {
        let expected = latest.load(Ordering::SeqCst).max(published.load(Ordering::SeqCst));
        assert_eq!(found(store, table, row).0, Some(expected), "seed {SEED}, key {row}");
    }
}
