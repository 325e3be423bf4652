//! What every [`OnlineStore`] must do, as assertions.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rand::RngExt;

use paceline_core::online::{OnlineChange, OnlineError, OnlineRow, OnlineStore, Version};
use paceline_core::{Timestamp, random};

/// Runs every check on a store that holds no table yet.
///
/// # Panics
/// At the first broken promise.
pub fn check_online_store(store: &dyn OnlineStore) {
    store.ping().expect("the store answers");
    a_table_that_was_never_published_is_empty(store);
    a_publish_replaces_the_whole_table(store);
    an_older_publish_is_refused(store);
    a_table_may_have_no_rows(store);
    keys_and_values_are_any_bytes(store);
    a_large_table_is_whole(store);
    what_no_store_takes_is_refused_and_changes_nothing(store);
    a_publisher_that_dies_changes_nothing(store);
    readers_see_one_version(store);
    changes_leave_what_a_whole_publish_would(store);
    a_change_is_refused_unless_it_fits(store);
    readers_see_one_version_of_changes(store);
    erased_keys_are_gone_from_every_layer(store);
    several_tables_read_as_one_by_one(store);
}

/// Key number `row` of a test table.
pub fn key(row: u32) -> Vec<u8> {
    format!("key-{row}").into_bytes()
}

/// A version of a table in which every value tells which version it belongs to.
pub fn marked_rows(as_of: i64, rows: u32) -> impl Iterator<Item = OnlineRow> {
    (0..rows).map(move |row| (key(row), as_of.to_be_bytes().to_vec()))
}

/// Publishes [`marked_rows`].
pub fn publish_marked(store: &dyn OnlineStore, table: &str, as_of: i64, rows: u32) -> Result<u64, OnlineError> {
    store.publish(table, Timestamp(as_of), &mut marked_rows(as_of, rows))
}

/// Reads all `rows` keys of a marked table and checks that they are of one version, that of the snapshot; returns it,
/// `None` when the table was never published.
///
/// # Panics
/// When the snapshot mixes versions or lacks a row.
pub fn read_marked(store: &dyn OnlineStore, table: &str, rows: u32) -> Option<i64> {
    let keys: Vec<Vec<u8>> = (0..rows).map(key).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let snapshot = store.get(table, &keys).expect("a read");
    assert_eq!(snapshot.values.len(), keys.len(), "one answer per key");
    let expected = snapshot.as_of.map(|as_of| as_of.0.to_be_bytes().to_vec());
    for (row, value) in snapshot.values.iter().enumerate() {
        assert_eq!(*value, expected, "table {table:?}, row {row}, as of {:?}", snapshot.as_of);
    }
    snapshot.as_of.map(|as_of| as_of.0)
}

/// Changes `rows` keys of a marked table, so that it reads as [`publish_marked`] would have left it.
///
/// # Panics
/// When the table was never published.
pub fn change_marked(store: &dyn OnlineStore, table: &str, as_of: i64, rows: u32) -> Result<u64, OnlineError> {
    let base = store.version(table)?.expect("the table was published");
    let mut changes = marked_rows(as_of, rows).map(|(key, value)| (key, Some(value)));
    store.publish_change(table, base, Timestamp(as_of), &mut changes)
}

fn current(store: &dyn OnlineStore, table: &str) -> Version {
    store.version(table).expect("a read").expect("the table was published")
}

fn a_table_that_was_never_published_is_empty(store: &dyn OnlineStore) {
    assert_eq!(read_marked(store, "never", 3), None);
    assert_eq!(store.as_of("never").expect("a read"), None);
    assert_eq!(store.get("never", &[]).expect("a read").values, Vec::<Option<Vec<u8>>>::new());
}

fn a_publish_replaces_the_whole_table(store: &dyn OnlineStore) {
    assert_eq!(publish_marked(store, "replaced", 1, 20).expect("a publish"), 20);
    assert_eq!(read_marked(store, "replaced", 20), Some(1));
    assert_eq!(publish_marked(store, "replaced", 2, 10).expect("a publish"), 10);
    assert_eq!(read_marked(store, "replaced", 10), Some(2));
    let gone = store.get("replaced", &[&key(15)]).expect("a read");
    assert_eq!((gone.as_of, gone.values), (Some(Timestamp(2)), vec![None]), "a row of the old version");
    assert_eq!(store.as_of("replaced").expect("a read"), Some(Timestamp(2)));
    assert_eq!(store.get("replaced", &[]).expect("a read").as_of, Some(Timestamp(2)));
    assert_eq!(read_marked(store, "other", 1), None, "tables are independent");
}

fn an_older_publish_is_refused(store: &dyn OnlineStore) {
    publish_marked(store, "ordered", 10, 3).expect("a publish");
    match publish_marked(store, "ordered", 9, 3) {
        Err(OnlineError::Outdated { table, current, offered }) => {
            assert_eq!((table.as_str(), current, offered), ("ordered", Timestamp(10), Timestamp(9)));
        }
        other => panic!("an older publish was answered by {other:?}"),
    }
    assert_eq!(read_marked(store, "ordered", 3), Some(10));
    let mut again = std::iter::once((key(0), b"again".to_vec()));
    store.publish("ordered", Timestamp(10), &mut again).expect("an equally old publish replaces");
    let read = store.get("ordered", &[&key(0), &key(1)]).expect("a read");
    assert_eq!(read.values, [Some(b"again".to_vec()), None]);

    // Times on both sides of 1970 and at the ends order as numbers.
    for as_of in [i64::MIN, -5, 0, 5, i64::MAX] {
        publish_marked(store, "all-times", as_of, 1).expect("a newer publish");
        assert_eq!(read_marked(store, "all-times", 1), Some(as_of));
    }
    publish_marked(store, "all-times", i64::MAX - 1, 1).expect_err("older by a microsecond");
}

fn a_table_may_have_no_rows(store: &dyn OnlineStore) {
    publish_marked(store, "emptied", 1, 5).expect("a publish");
    assert_eq!(publish_marked(store, "emptied", 2, 0).expect("a publish"), 0);
    let read = store.get("emptied", &[&key(0)]).expect("a read");
    assert_eq!((read.as_of, read.values), (Some(Timestamp(2)), vec![None]));
}

fn keys_and_values_are_any_bytes(store: &dyn OnlineStore) {
    let rows: Vec<OnlineRow> = vec![
        (vec![0], vec![]),
        (vec![255, 0, 10, 13], vec![0, 255, 10, 13]),
        (b"{key}".to_vec(), b"\"value\"".to_vec()),
        (vec![7; 4_000], vec![9; 300_000]),
        (b"twice".to_vec(), b"first".to_vec()),
        (b"twice".to_vec(), b"last".to_vec()),
    ];
    assert_eq!(store.publish("bytes", Timestamp(1), &mut rows.clone().into_iter()).expect("a publish"), 6);
    let keys: Vec<&[u8]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
    let mut expected: Vec<Option<Vec<u8>>> = rows.iter().map(|(_, value)| Some(value.clone())).collect();
    expected[4] = Some(b"last".to_vec());
    assert_eq!(store.get("bytes", &keys).expect("a read").values, expected);
}

fn a_large_table_is_whole(store: &dyn OnlineStore) {
    const ROWS: u32 = 12_345;
    assert_eq!(publish_marked(store, "large", 1, ROWS).expect("a publish"), u64::from(ROWS));
    assert_eq!(read_marked(store, "large", ROWS), Some(1));
}

fn what_no_store_takes_is_refused_and_changes_nothing(store: &dyn OnlineStore) {
    publish_marked(store, "guarded", 1, 3).expect("a publish");
    for row in [(vec![], vec![1]), (vec![1; 70_000], vec![1]), (vec![1], vec![1; (16 << 20) + 1])] {
        let mut rows = marked_rows(2, 2_000).chain([row]);
        let refused = store.publish("guarded", Timestamp(2), &mut rows);
        assert!(matches!(refused, Err(OnlineError::Refused { .. })), "{refused:?}");
        assert_eq!(read_marked(store, "guarded", 3), Some(1));
    }
    for table in ["", "a b", "a{b}", "a\nb", &"x".repeat(300)] {
        let refused = publish_marked(store, table, 1, 1);
        assert!(matches!(refused, Err(OnlineError::Refused { .. })), "{table:?}: {refused:?}");
    }
    let unknown = store.get("guarded", &[&[], &[1; 70_000]]).expect("a read");
    assert_eq!(unknown.values, [None, None], "keys that cannot have been published are unknown");
}

fn a_publisher_that_dies_changes_nothing(store: &dyn OnlineStore) {
    publish_marked(store, "survivor", 1, 3).expect("a publish");
    let mut rows = marked_rows(2, 5_000).inspect(|(row, _)| {
        if *row == key(4_321) {
            resume_unwind(Box::new("the publisher dies"));
        }
    });
    let died = catch_unwind(AssertUnwindSafe(|| store.publish("survivor", Timestamp(2), &mut rows)));
    died.expect_err("the publisher died");
    assert_eq!(read_marked(store, "survivor", 3), Some(1));
    publish_marked(store, "survivor", 2, 3).expect("the next publish");
    assert_eq!(read_marked(store, "survivor", 3), Some(2));
}

fn readers_see_one_version(store: &dyn OnlineStore) {
    const ROWS: u32 = 50;
    const VERSIONS: i64 = 60;
    publish_marked(store, "contended", 0, ROWS).expect("a publish");
    let next = AtomicI64::new(1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publish = || {
            loop {
                let as_of = next.fetch_add(1, Ordering::Relaxed);
                if as_of > VERSIONS {
                    return;
                }
                // The other publisher may have been faster with a newer version.
                match publish_marked(store, "contended", as_of, ROWS) {
                    Ok(_) | Err(OnlineError::Outdated { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let read = || {
            let (mut newest, mut reads) = (0, 0);
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let version = read_marked(store, "contended", ROWS).expect("it is published");
                assert!(version >= newest, "a reader went back from {newest} to {version}");
                newest = version;
                reads += 1;
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        let publishers = [scope.spawn(publish), scope.spawn(publish)];
        let published: Vec<_> = publishers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // Before the publishers' outcome is looked at, so that the readers end in any case.
        done.store(true, Ordering::Relaxed);
        for outcome in published.into_iter().chain(readers.into_iter().map(std::thread::ScopedJoinHandle::join)) {
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    assert_eq!(read_marked(store, "contended", ROWS), Some(VERSIONS));
}

/// Many changes of all sizes against a map that is changed in the same way.
fn changes_leave_what_a_whole_publish_would(store: &dyn OnlineStore) {
    const SEED: u64 = 20_110_901;
    let mut random = random::stream(SEED, "online changes");
    const KEYS: u32 = 1_500;
    let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = marked_rows(0, 1_200).collect();
    store.publish("changed", Timestamp(0), &mut expected.clone().into_iter()).expect("a publish");
    let mut seen = vec![current(store, "changed").number];
    for step in 1..60i64 {
        let size = [0, 1, 3, 20, 300, 1_400][random.random_range(0..6)];
        let mut changes: Vec<OnlineChange> = Vec::new();
        for change in 0..size {
            let value = (step * 10_000 + change).to_be_bytes().to_vec();
            changes.push((key(random.random_range(0..KEYS)), random.random_bool(0.6).then_some(value)));
        }
        // Some of the changes leave `as_of` as it is.
        let as_of = Timestamp(step / 2);
        let base = current(store, "changed");
        let written = store.publish_change("changed", base, as_of, &mut changes.clone().into_iter()).expect("a change");
        assert_eq!(written, changes.len() as u64);
        for (key, value) in changes {
            match value {
                Some(value) => expected.insert(key, value),
                None => expected.remove(&key),
            };
        }
        let now = current(store, "changed");
        assert!(now.as_of == as_of && !seen.contains(&now.number), "{now:?} after {seen:?}");
        seen.push(now.number);
        let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
        let read = store.get("changed", &keys.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("a read");
        assert_eq!(read.as_of, Some(as_of));
        for (key, value) in keys.iter().zip(&read.values) {
            assert_eq!(
                value.as_ref(),
                expected.get(key),
                "seed {SEED}, step {step}, key {}",
                String::from_utf8_lossy(key)
            );
        }
    }
    publish_marked(store, "changed", 1_000, 3).expect("a publish over changes");
    assert_eq!(read_marked(store, "changed", 3), Some(1_000));
    assert_eq!(store.get("changed", &[&key(7)]).expect("a read").values, [None], "a row of the version before");
}

fn a_change_is_refused_unless_it_fits(store: &dyn OnlineStore) {
    let nothing: &mut dyn FnMut() -> std::iter::Empty<OnlineChange> = &mut std::iter::empty;
    let base = Version { number: 1, as_of: Timestamp(1) };
    let never = store.publish_change("never-changed", base, Timestamp(2), &mut nothing());
    assert!(matches!(never, Err(OnlineError::Moved { .. })), "{never:?}");

    publish_marked(store, "fitting", 10, 2_000).expect("a publish");
    let base = current(store, "fitting");
    let older = store.publish_change("fitting", base, Timestamp(9), &mut nothing());
    assert!(matches!(older, Err(OnlineError::Outdated { .. })), "{older:?}");
    for bad in [(vec![], None), (vec![1; 70_000], None), (vec![1], Some(vec![1; (16 << 20) + 1]))] {
        let mut changes = marked_rows(11, 2_000).map(|(key, value)| (key, Some(value))).chain([bad]);
        let refused = store.publish_change("fitting", base, Timestamp(11), &mut changes);
        assert!(matches!(refused, Err(OnlineError::Refused { .. })), "{refused:?}");
        assert_eq!((read_marked(store, "fitting", 2_000), current(store, "fitting")), (Some(10), base));
    }
    // Another publish, as old as the base, while the change is made.
    let mut meanwhile = marked_rows(11, 5).map(|(row, value)| {
        if row == key(3) {
            publish_marked(store, "fitting", 10, 50).expect("an equally old publish");
        }
        (row, Some(value))
    });
    let moved = store.publish_change("fitting", base, Timestamp(11), &mut meanwhile);
    assert!(matches!(moved, Err(OnlineError::Moved { .. })), "{moved:?}");
    assert_eq!(read_marked(store, "fitting", 50), Some(10));
    let stale = store.publish_change("fitting", base, Timestamp(11), &mut nothing());
    assert!(matches!(stale, Err(OnlineError::Moved { .. })), "{stale:?}");
    assert_eq!(change_marked(store, "fitting", 11, 50).expect("a change of the current version"), 50);
    assert_eq!(read_marked(store, "fitting", 50), Some(11));
}

/// Changers and publishers at once: every reader sees one version, and time never goes back.
fn readers_see_one_version_of_changes(store: &dyn OnlineStore) {
    const ROWS: u32 = 40;
    const VERSIONS: i64 = 60;
    publish_marked(store, "changing", 0, ROWS).expect("a publish");
    let next = AtomicI64::new(1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let write = || {
            loop {
                let as_of = next.fetch_add(1, Ordering::Relaxed);
                if as_of > VERSIONS {
                    return;
                }
                let write = if as_of % 7 == 0 { publish_marked } else { change_marked };
                match write(store, "changing", as_of, ROWS) {
                    Ok(_) | Err(OnlineError::Outdated { .. } | OnlineError::Moved { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let read = || {
            let (mut newest, mut reads) = (0, 0);
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let version = read_marked(store, "changing", ROWS).expect("it is published");
                assert!(version >= newest, "a reader went back from {newest} to {version}");
                newest = version;
                reads += 1;
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        let writers = [scope.spawn(write), scope.spawn(write)];
        let written: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // Before the writers' outcome is looked at, so that the readers end in any case.
        done.store(true, Ordering::Relaxed);
        for outcome in written.into_iter().chain(readers.into_iter().map(std::thread::ScopedJoinHandle::join)) {
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

fn several_tables_read_as_one_by_one(store: &dyn OnlineStore) {
    let keys: Vec<Vec<u8>> = [0, 3, 99, 1].map(key).to_vec();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let asked: [(&str, &[&[u8]]); 5] = [
        ("several-a", &keys),
        ("several-none", &keys[..2]),
        ("several-b", &keys[1..]),
        ("several-a", &[]),
        ("several-b", &keys),
    ];
    for as_of in 1..4 {
        publish_marked(store, "several-a", as_of, 5).expect("newer");
        match as_of {
            1 => publish_marked(store, "several-b", 10, 4).expect("the first"),
            _ => change_marked(store, "several-b", 10 * as_of, 4).expect("newer"),
        };
        let read = store.get_tables(&asked).expect("a read");
        let one_by_one = asked.iter().map(|(table, keys)| store.get(table, keys).expect("a read"));
        assert_eq!(read, one_by_one.collect::<Vec<_>>(), "as of {as_of}");
        let times = read.iter().map(|snapshot| snapshot.as_of.map(|as_of| as_of.0)).collect::<Vec<_>>();
        assert_eq!(times, [Some(as_of), None, Some(10 * as_of), Some(as_of), Some(10 * as_of)]);
    }
    assert_eq!(store.get_tables(&[]).expect("nothing"), []);
}

fn visited(store: &dyn OnlineStore, table: &str) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    let mut visit = |key: &[u8]| {
        keys.insert(key.to_vec());
    };
    store.visit_keys(table, &mut visit).expect("a visit");
    keys
}

fn erased_keys_are_gone_from_every_layer(store: &dyn OnlineStore) {
    const ROWS: u32 = 1_500;
    assert_eq!(store.erase("never-erased", &[&key(1)]).expect("nothing to erase"), 0);
    assert!(visited(store, "never-erased").is_empty());

    publish_marked(store, "erased", 1, ROWS).expect("a publish");
    let change = |as_of: i64, changes: Vec<OnlineChange>| {
        let base = current(store, "erased");
        store.publish_change("erased", base, Timestamp(as_of), &mut changes.into_iter()).expect("a change")
    };
    change(2, (0..100).map(|row| (key(row), Some(b"two".to_vec()))).collect());
    change(3, vec![(key(3), Some(b"three".to_vec())), (key(4), None), (key(9_999), Some(b"new".to_vec()))]);
    let before = current(store, "erased");
    let expected = |row: u32| match row {
        3 => Some(b"three".to_vec()),
        4 => None,
        9_999 => Some(b"new".to_vec()),
        0..100 => Some(b"two".to_vec()),
        _ => Some(1i64.to_be_bytes().to_vec()),
    };
    let all: BTreeSet<Vec<u8>> = (0..ROWS).filter(|row| *row != 4).chain([9_999]).map(key).collect();
    assert!(visited(store, "erased").is_superset(&all));

    // Written once, twice, three times; removed already; of the newest layer alone; unknown; one twice.
    let asked = [200, 5, 3, 4, 9_999, 77_777, 5].map(key);
    let asked: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
    assert_eq!(store.erase("erased", &asked).expect("an erasure"), 4);
    let after = current(store, "erased");
    assert!(after.as_of == before.as_of && after.number != before.number, "{before:?}, {after:?}");
    let check = |erased: &[u32]| {
        let keys: Vec<Vec<u8>> = (0..ROWS).chain([9_999]).map(key).collect();
        let read = store.get("erased", &keys.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("a read");
        for (row, value) in (0..ROWS).chain([9_999]).zip(read.values) {
            assert_eq!(value, expected(row).filter(|_| !erased.contains(&row)), "row {row}");
        }
        let keys = visited(store, "erased");
        assert!(erased.iter().all(|row| !keys.contains(&key(*row))), "nothing of them is left in any layer");
    };
    check(&[200, 5, 3, 4, 9_999]);
    let stale = store.publish_change("erased", before, Timestamp(4), &mut std::iter::empty());
    assert!(matches!(stale, Err(OnlineError::Moved { .. })), "a change for what was erased: {stale:?}");
    assert_eq!(store.erase("erased", &asked).expect("an erasure"), 0, "done already");
    assert_eq!(current(store, "erased"), after, "nothing changed");
    // While a change is being made from the layers that hold it.
    let mut meanwhile = (0..800).map(|row| {
        if row == 700 {
            assert_eq!(store.erase("erased", &[&key(1_200)]).expect("an erasure"), 1);
        }
        (key(row), Some(b"never".to_vec()))
    });
    let moved = store.publish_change("erased", after, Timestamp(4), &mut meanwhile);
    assert!(matches!(moved, Err(OnlineError::Moved { .. })), "{moved:?}");
    check(&[200, 5, 3, 4, 9_999, 1_200]);

    publish_marked(store, "erased-wholly", 1, 3).expect("a publish");
    let keys = [0, 1, 2].map(key);
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    assert_eq!(store.erase("erased-wholly", &keys).expect("an erasure"), 3);
    let read = store.get("erased-wholly", &keys).expect("an empty table is not a broken one");
    assert_eq!((read.as_of, read.values), (Some(Timestamp(1)), vec![None; 3]));
    let rest = store.publish_change(
        "erased-wholly",
        current(store, "erased-wholly"),
        Timestamp(2),
        &mut std::iter::once((key(1), Some(b"again".to_vec()))),
    );
    assert_eq!(rest.expect("a change"), 1);
    assert_eq!(store.get("erased-wholly", &keys).expect("a read").values, [None, Some(b"again".to_vec()), None]);
}
