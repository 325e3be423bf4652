//! A process that writes is killed at a random moment, many times over. Whatever it had been told is written is there
//! afterwards, and nothing is half there.
//!
//! The writer is this test binary, run again with a variable that says what to write. It prints a line for everything
//! that was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;

use paceline_core::event::{Appended, EventLog, Offset, Retention};
use paceline_core::online::OnlineStore;
use paceline_core::random;
use paceline_store::{EmbeddedEventLog, EmbeddedOnlineStore, RedisOnlineStore, RedisOptions};
use paceline_testkit::event_log_suite::{check_extent, event, read_all};
use paceline_testkit::online_suite::{change_marked, publish_marked, read_marked};
use paceline_testkit::push_suite::{found, pushed};

use crate::redis_server::RedisServer;

const TASK: &str = "PACELINE_KILL_TASK";
const PLACE: &str = "PACELINE_KILL_PLACE";
const ROUNDS: u64 = 12;
/// Enough that a publish takes several batches, so that most kills fall into one.
const ROWS: u32 = 3_000;

/// Not a test of its own: the writer that the others start and kill.
#[test]
fn writer() {
    let (Ok(task), Ok(place)) = (std::env::var(TASK), std::env::var(PLACE)) else { return };
    match task.as_str() {
        "embedded online" => publish_forever(&EmbeddedOnlineStore::open(place.as_ref()).unwrap()),
        "redis online" => publish_forever(&RedisOnlineStore::connect(&place, RedisOptions::default()).unwrap()),
        "embedded pushes" => push_forever(&EmbeddedOnlineStore::open(place.as_ref()).unwrap()),
        "embedded events" => append_forever(&EmbeddedEventLog::open(place.as_ref()).unwrap()),
        "trimmed events" => append_and_trim_forever(&EmbeddedEventLog::open(place.as_ref()).unwrap()),
        other => panic!("unknown task {other:?}"),
    }
}

fn acknowledge(what: &str) {
    let mut output = std::io::stdout().lock();
    // In one write, because the parent may kill this process between two.
    output.write_all(format!("\nack {what}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

/// Whole publishes and changes in turn.
fn publish_forever(store: &dyn OnlineStore) {
    let first = store.as_of("t").unwrap().map_or(1, |as_of| as_of.0 + 1);
    for as_of in first.. {
        let write = if as_of == 1 || as_of % 3 == 0 { publish_marked } else { change_marked };
        write(store, "t", as_of, ROWS).unwrap();
        acknowledge(&as_of.to_string());
    }
}

/// Three keys together, the times going up.
fn push_forever(store: &dyn OnlineStore) {
    let first = found(store, "p", 0).0.map_or(1, |time| time + 1);
    for time in first.. {
        store.push("p", &[pushed(0, time), pushed(1, time), pushed(2, time)]).unwrap();
        acknowledge(&time.to_string());
    }
}

/// Two threads, so that appends share a sync.
fn append_forever(log: &dyn EventLog) {
    let process = std::process::id();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                for number in 0.. {
                    let id = format!("{process}-{thread}-{number}");
                    let appended =
                        log.append(&[event("kill", Some(&id), number), event("kill", None, number)]).unwrap();
                    let Appended::New(offset) = appended[0] else { panic!("{id} is new: {appended:?}") };
                    acknowledge(&format!("{id} {}", offset.0));
                }
            });
        }
    });
}

/// Appends while all but the newest few events are dropped.
fn append_and_trim_forever(log: &dyn EventLog) {
    std::thread::scope(|scope| {
        scope.spawn(|| append_forever(log));
        loop {
            log.trim(&Retention { bytes_max: Some(2_000), ..Retention::default() }).unwrap();
        }
    });
}

/// Starts the writer, kills it after `acknowledgements` and a little more, and returns everything it acknowledged.
fn run_and_kill(task: &str, place: &str, acknowledgements: usize, then_wait: Duration) -> Vec<String> {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writer", "--nocapture", "--test-threads=1"])
        .env(TASK, task)
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let mut next = || lines.find_map(|line| line.ok()?.strip_prefix("ack ").map(str::to_owned));
    while acknowledged.len() < acknowledgements {
        acknowledged.push(next().expect("the writer goes on until it is killed"));
    }
    let started = Instant::now();
    while started.elapsed() < then_wait {
        std::hint::spin_loop();
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    acknowledged.extend(std::iter::from_fn(next));
    acknowledged
}

/// For every round, the number of acknowledgements and the time after which the writer dies.
fn moments(purpose: &str) -> impl Iterator<Item = (u64, usize, Duration)> {
    const SEED: u64 = 20_111_209;
    println!("seed {SEED}");
    let mut random = random::stream(SEED, purpose);
    (0..ROUNDS)
        .map(move |round| (round, random.random_range(1..6), Duration::from_micros(random.random_range(0..8_000))))
}

fn check_publishes(task: &str, place: &str, open: &dyn Fn() -> Box<dyn OnlineStore>) {
    for (round, count, wait) in moments(task) {
        let acknowledged = run_and_kill(task, place, count, wait);
        let last: i64 = acknowledged.last().unwrap().parse().unwrap();
        let store = open();
        let found = read_marked(&*store, "t", ROWS).expect("it was published");
        assert!((last..=last + 1).contains(&found), "round {round}: {last} was acknowledged, {found} is there");
        // The next publisher is not disturbed by what the last one left.
        publish_marked(&*store, "t", found + 1, ROWS).unwrap();
        assert_eq!(read_marked(&*store, "t", ROWS), Some(found + 1));
    }
}

#[test]
fn a_killed_publisher_leaves_a_whole_table_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    check_publishes("embedded online", directory.path().to_str().unwrap(), &|| {
        Box::new(EmbeddedOnlineStore::open(directory.path()).unwrap())
    });
    let left = std::fs::read_dir(directory.path().join("keyspaces")).unwrap().count();
    assert!(left <= 6, "dead versions are deleted, {left} keyspaces are left");
}

#[test]
fn a_killed_publisher_leaves_a_whole_table_on_the_server() {
    let Some(server) = RedisServer::start() else { return };
    let url = server.url();
    check_publishes("redis online", &url, &|| {
        Box::new(RedisOnlineStore::connect(&url, RedisOptions::default()).unwrap())
    });
    let mut connection = server.connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("paceline:online:{t}:rows:*").query(&mut connection).unwrap();
    let lasting = keys.iter().filter(|key| redis::cmd("TTL").arg(key).query::<i64>(&mut connection).unwrap() == -1);
    assert_eq!(lasting.count(), 1, "all versions but the current one expire: {keys:?}");
}

#[test]
fn a_killed_pusher_leaves_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    for (round, count, wait) in moments("pushes") {
        let acknowledged = run_and_kill("embedded pushes", directory.path().to_str().unwrap(), count, wait);
        let last: i64 = acknowledged.last().unwrap().parse().unwrap();
        let store = EmbeddedOnlineStore::open(directory.path()).unwrap();
        let times = [0, 1, 2].map(|row| found(&store, "p", row).0.unwrap());
        assert!((last..=last + 1).contains(&times[0]), "round {round}: {last} was acknowledged, {times:?} are there");
        assert!(times.iter().all(|time| *time == times[0]), "round {round}: all of a call or none: {times:?}");
    }
}

#[test]
fn a_killed_appender_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for (round, count, wait) in moments("events") {
        for line in run_and_kill("embedded events", directory.path().to_str().unwrap(), 10 * count, wait) {
            let (id, offset) = line.split_once(' ').unwrap();
            acknowledged.insert(id.to_owned(), offset.parse().unwrap());
        }
        let log = EmbeddedEventLog::open(directory.path()).unwrap();
        let logged = read_all(&log, 1_000);
        let ids: Vec<(&String, u64)> =
            logged.iter().filter_map(|(offset, event)| Some((event.id.as_ref()?, offset.0))).collect();
        assert_eq!(ids.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len(), ids.len(), "each id is there once");
        assert_eq!(logged.len(), 2 * ids.len(), "round {round}: both events of a call are there or none");
        let by_id: BTreeMap<&String, u64> = ids.into_iter().collect();
        for (id, offset) in &acknowledged {
            assert_eq!(by_id.get(id), Some(offset), "round {round}: {id} was acknowledged");
            // Retried after the crash, it is recognized.
        }
        let (id, _) = acknowledged.last_key_value().unwrap();
        assert!(matches!(log.append(&[event("kill", Some(id), 0)]).unwrap()[0], Appended::Duplicate(_)));
    }
}

#[test]
fn a_killed_trim_leaves_every_event_whole_or_gone_with_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let mut next = Offset(0);
    for (round, count, wait) in moments("trimmed") {
        let lines = run_and_kill("trimmed events", directory.path().to_str().unwrap(), 10 * count, wait);
        let log = EmbeddedEventLog::open(directory.path()).unwrap();
        let extent = check_extent(&log);
        assert!(extent.next > next, "round {round}: positions go on from {next:?}, not from {extent:?}");
        let left: BTreeMap<u64, Option<String>> =
            read_all(&log, 1_000).into_iter().map(|(offset, event)| (offset.0, event.id)).collect();
        for line in lines {
            let (id, offset) = line.split_once(' ').unwrap();
            let offset = Offset(offset.parse().unwrap());
            assert!(offset >= next, "round {round}: no position is given out twice");
            let again = log.append(&[event("kill", Some(id), 0)]).unwrap()[0];
            match offset < extent.first {
                true => assert!(matches!(again, Appended::New(_)), "round {round}: {id} was dropped: {again:?}"),
                false => {
                    assert_eq!(left.get(&offset.0), Some(&Some(id.to_owned())), "round {round}: it was acknowledged");
                    assert_eq!(again, Appended::Duplicate(offset));
                }
            }
        }
        next = log.extent().unwrap().next;
    }
}
