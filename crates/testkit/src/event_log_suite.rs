//! What every [`EventLog`] must do, as assertions.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use paceline_core::Timestamp;
use paceline_core::event::{Appended, Dropped, Event, EventLog, EventLogError, Extent, Offset, Retention};
use serde_json::json;

/// Runs every check on a log that is empty.
///
/// # Panics
/// At the first broken promise.
pub fn check_event_log(log: &dyn EventLog) {
    assert_eq!(log.read(Offset(0), 10).expect("a read"), [], "the log is empty at first");
    assert_eq!(log.append(&[]).expect("an append"), []);
    events_come_back_as_they_were(log);
    reads_go_on_where_they_ended(log);
    an_id_is_appended_once(log);
    what_no_log_takes_is_refused_as_a_whole(log);
    concurrent_appends_are_each_there_once(log);
    removed_events_leave_gaps(log);
    the_oldest_are_dropped_and_readers_are_told(log);
    a_reader_misses_nothing_while_events_are_dropped(log);
}

/// An event of `source` with one field.
pub fn event(source: &str, id: Option<&str>, number: u64) -> Event {
    let fields = [("number".to_owned(), json!(number))].into_iter().collect();
    Event { id: id.map(str::to_owned), source: source.to_owned(), received: Timestamp(0), fields }
}

/// The whole log, from the first position that was not dropped, read in pages of `page` events.
///
/// # Panics
/// When a page is too long or offsets do not increase.
pub fn read_all(log: &dyn EventLog, page: usize) -> Vec<(Offset, Event)> {
    let first = log.extent().expect("an extent").first;
    let mut events: Vec<(Offset, Event)> = Vec::new();
    loop {
        let from = events.last().map_or(first, |(last, _)| Offset(last.0 + 1));
        let read = log.read(from, page).expect("a read");
        assert!(read.len() <= page, "{} events for a limit of {page}", read.len());
        let offsets = events.last().map(|(last, _)| *last).into_iter().chain(read.iter().map(|(offset, _)| *offset));
        assert!(offsets.is_sorted_by(|a, b| a < b), "offsets increase");
        if read.is_empty() {
            return events;
        }
        events.extend(read);
    }
}

fn is_new(appended: &Appended) -> bool {
    matches!(appended, Appended::New(_))
}

fn offset(appended: &Appended) -> Offset {
    match appended {
        Appended::New(offset) | Appended::Duplicate(offset) => *offset,
    }
}

fn events_come_back_as_they_were(log: &dyn EventLog) {
    let fields = json!({
        "text": "naïve \"quoted\"\n\u{0}", "whole": i64::MAX, "large": u64::MAX, "number": 0.1, "tiny": 5e-324,
        "yes": true, "nothing": null, "list": [1, [2.5]], "nested": {"": {"a": "b"}},
    });
    let written = Event {
        id: Some("id with blanks and ünicode".into()),
        source: "sales".into(),
        received: "2011-12-09T12:50:00.123456Z".parse().expect("a time"),
        fields: fields.as_object().expect("an object").clone(),
    };
    let appended = log.append(std::slice::from_ref(&written)).expect("an append");
    assert!(is_new(&appended[0]));
    assert_eq!(log.read(offset(&appended[0]), 1).expect("a read"), [(offset(&appended[0]), written)]);
}

fn reads_go_on_where_they_ended(log: &dyn EventLog) {
    let before = read_all(log, 100).len();
    let events: Vec<Event> = (0..25).map(|number| event("paged", None, number)).collect();
    let appended = log.append(&events).expect("an append");
    assert!(appended.iter().all(is_new), "events without id are always new");
    let offsets: Vec<Offset> = appended.iter().map(offset).collect();
    for page in [1, 7, 25, 1_000] {
        let all = read_all(log, page);
        let tail: Vec<(Offset, Event)> = offsets.iter().copied().zip(events.iter().cloned()).collect();
        assert_eq!(all[before..], tail, "in pages of {page}");
    }
    assert_eq!(log.read(offsets[10], 2).expect("a read")[0].1, events[10], "from is included");
    assert_eq!(log.read(offsets[0], 0).expect("a read"), []);
    assert_eq!(log.read(Offset(offsets[24].0 + 1), 5).expect("a read"), []);
}

fn an_id_is_appended_once(log: &dyn EventLog) {
    let before = read_all(log, 1_000).len();
    let first = log.append(&[event("a", Some("1"), 1), event("a", Some("1"), 2), event("b", Some("1"), 3)]);
    let first = first.expect("an append");
    assert_eq!(first[1], Appended::Duplicate(offset(&first[0])), "twice in one call");
    assert!(is_new(&first[2]), "ids of different sources are different");
    let again = log.append(&[event("a", Some("2"), 4), event("a", Some("1"), 5), event("a", None, 6)]);
    let again = again.expect("an append");
    assert_eq!(again[1], Appended::Duplicate(offset(&first[0])));
    assert!(is_new(&again[0]) && is_new(&again[2]));
    // (a, b1) and (ab, 1) must not be one id.
    let joined = log.append(&[event("a", Some("b1"), 7), event("ab", Some("1"), 8)]).expect("an append");
    assert!(joined.iter().all(is_new));
    let numbers: Vec<_> =
        read_all(log, 1_000)[before..].iter().map(|(_, event)| event.fields["number"].clone()).collect();
    assert_eq!(numbers, [1, 3, 4, 6, 7, 8].map(|number: u64| json!(number)));
}

fn what_no_log_takes_is_refused_as_a_whole(log: &dyn EventLog) {
    let before = read_all(log, 1_000).len();
    let mut huge = event("a", None, 1);
    huge.fields.insert("text".into(), "x".repeat(2 << 20).into());
    for (calls, at) in [
        (vec![event("a", None, 1), huge], 1),
        (vec![event("", None, 1)], 0),
        (vec![event("a", Some(""), 1)], 0),
        (vec![event("a", None, 1); 100_000], 1_000),
    ] {
        match log.append(&calls) {
            Err(EventLogError::Refused { index, .. }) => assert_eq!(index, at),
            other => panic!("answered by {other:?}"),
        }
    }
    assert_eq!(read_all(log, 1_000).len(), before, "nothing of a refused call is written");
}

fn concurrent_appends_are_each_there_once(log: &dyn EventLog) {
    const THREADS: u64 = 4;
    const APPENDS: u64 = 40;
    // Every id is sent by two threads.
    let id = |thread: u64, append: u64| format!("{}", (thread / 2) * APPENDS + append);
    let outcomes: Vec<(String, Appended)> = std::thread::scope(|scope| {
        let send = |thread| {
            let one = |append| {
                let id = id(thread, append);
                let appended = log.append(&[event("many", Some(&id), append)]).expect("an append");
                (id, appended[0])
            };
            (0..APPENDS).map(one).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || send(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let mut by_id: BTreeMap<String, Vec<Appended>> = BTreeMap::new();
    for (id, appended) in outcomes {
        by_id.entry(id).or_default().push(appended);
    }
    assert_eq!(by_id.len() as u64, THREADS / 2 * APPENDS);
    let mut new = BTreeSet::new();
    for (id, outcomes) in &by_id {
        assert_eq!(outcomes.iter().filter(|outcome| is_new(outcome)).count(), 1, "id {id}: {outcomes:?}");
        assert_eq!(offset(&outcomes[0]), offset(&outcomes[1]), "id {id}");
        new.insert(offset(&outcomes[0]));
    }
    let logged: BTreeMap<Offset, Event> =
        read_all(log, 1_000).into_iter().filter(|(_, event)| event.source == "many").collect();
    assert_eq!(logged.keys().copied().collect::<BTreeSet<_>>(), new);
    for (id, outcomes) in &by_id {
        assert_eq!(logged[&offset(&outcomes[0])].id.as_ref(), Some(id));
    }
}

/// Everything that `retention` does not keep.
///
/// # Panics
/// When the log fails.
pub fn trim_all(log: &dyn EventLog, retention: &Retention) -> Dropped {
    let mut all = Dropped::default();
    loop {
        let dropped = log.trim(retention).expect("a trim");
        if dropped.events == 0 {
            return all;
        }
        all += dropped;
    }
}

fn json_bytes(events: &[Event]) -> u64 {
    events.iter().map(|event| serde_json::to_vec(event).expect("plain data").len() as u64).sum()
}

/// That the log's own figures are those of what it gives to a reader.
///
/// # Panics
/// When they are not.
pub fn check_extent(log: &dyn EventLog) -> Extent {
    let extent = log.extent().expect("an extent");
    let (offsets, events): (Vec<Offset>, Vec<Event>) = read_all(log, 1_000).into_iter().unzip();
    assert_eq!(extent.bytes, json_bytes(&events));
    assert!(offsets.iter().all(|offset| (extent.first..extent.next).contains(offset)), "{extent:?}");
    extent
}

fn removed_events_leave_gaps(log: &dyn EventLog) {
    let events: Vec<Event> = (0..6).map(|number| event("removed", Some(&format!("r{number}")), number)).collect();
    let offsets: Vec<Offset> = log.append(&events).expect("an append").iter().map(offset).collect();
    let before = check_extent(log);
    let none = Offset(before.next.0 + 7);
    let asked = [offsets[1], offsets[4], offsets[5], none, offsets[1]];
    let taken = json_bytes(&[events[1].clone(), events[4].clone(), events[5].clone()]);
    assert_eq!(log.remove(&asked).expect("a removal"), Dropped { events: 3, bytes: taken });
    assert_eq!(log.remove(&asked).expect("a removal"), Dropped::default(), "nothing is left to remove");
    let left = [0, 2, 3].map(|at: usize| (offsets[at], events[at].clone()));
    assert_eq!(log.read(offsets[0], 10).expect("a read"), left);
    assert_eq!(log.read(offsets[1], 1).expect("a gap is no dropped position"), [left[1].clone()]);
    let after = check_extent(log);
    assert_eq!((after.first, after.bytes), (before.first, before.bytes - taken));
    let again = log.append(&[events[0].clone(), events[1].clone(), events[5].clone()]).expect("an append");
    assert_eq!(again[0], Appended::Duplicate(offsets[0]));
    assert!(is_new(&again[1]) && is_new(&again[2]), "removed ids are forgotten: {again:?}");
    assert!(offset(&again[1]) > offsets[5], "no position is given out twice");
}

fn the_oldest_are_dropped_and_readers_are_told(log: &dyn EventLog) {
    const COUNT: usize = 2_300;
    let start: Timestamp = "2030-01-01".parse().expect("a time");
    let at = |number: usize| Timestamp(start.0 + number as i64 * 1_000_000);
    let keep = Retention::default();
    assert_eq!(log.trim(&keep).expect("a trim"), Dropped::default(), "nothing was asked for");

    // Everything so far, which ends before `start`.
    let before = check_extent(log);
    let held = read_all(log, 1_000).len() as u64;
    let old = Retention { received_from: Some(start), ..keep };
    assert_eq!(trim_all(log, &old), Dropped { events: held, bytes: before.bytes });
    let empty = check_extent(log);
    assert_eq!((empty.first, empty.bytes), (before.next, 0));
    assert_eq!(log.read(empty.first, 10).expect("a read"), []);

    let numbered =
        |number: usize| Event { received: at(number), ..event("dropped", Some(&format!("d{number}")), number as u64) };
    let events: Vec<Event> = (0..COUNT).map(numbered).collect();
    let mut offsets = Vec::new();
    for call in events.chunks(1_000) {
        offsets.extend(log.append(call).expect("an append").iter().map(offset));
    }
    assert!(offsets[0] >= before.next, "no position is given out twice");
    let bytes_from = |first: usize| json_bytes(&events[first..]);
    let check = |retention: Retention, first: usize, gone: usize| {
        let dropped = Dropped { events: (first - gone) as u64, bytes: bytes_from(gone) - bytes_from(first) };
        assert_eq!(trim_all(log, &retention), dropped, "{retention:?}");
        let extent = check_extent(log);
        assert_eq!(extent.bytes, bytes_from(first));
        assert_eq!(log.read(offsets[first], 1).expect("a read")[0].1, events[first]);
        match log.read(offsets[first - 1], 1) {
            Err(EventLogError::Gone { asked, first: told, .. }) => {
                assert_eq!((asked, told), (offsets[first - 1], extent.first));
            }
            other => panic!("a dropped position was answered by {other:?}"),
        }
    };
    check(Retention { received_from: Some(at(3)), ..keep }, 3, 0);
    check(Retention { received_from: Some(at(1_200)), ..keep }, 1_200, 3);
    // What is still needed stays, however old and large.
    let needed_from = Some(offsets[1_250]);
    check(Retention { received_from: Some(at(2_000)), bytes_max: Some(0), needed_from }, 1_250, 1_200);
    check(Retention { bytes_max: Some(bytes_from(2_260)), ..keep }, 2_260, 1_250);
    // The one that makes it too much goes as a whole.
    check(Retention { bytes_max: Some(bytes_from(2_270) - 1), ..keep }, 2_271, 2_260);

    let again = log.append(&[events[5].clone(), events[COUNT - 1].clone()]).expect("an append");
    assert!(is_new(&again[0]), "ids are forgotten with their events");
    assert!(offset(&again[0]) > offsets[COUNT - 1]);
    assert_eq!(again[1], Appended::Duplicate(offsets[COUNT - 1]));
}

/// One appends, two trim, one follows: the numbers that it reads are without a gap unless it is told of one.
fn a_reader_misses_nothing_while_events_are_dropped(log: &dyn EventLog) {
    const CALLS: u64 = 60;
    const EACH: u64 = 20;
    let small = Retention { bytes_max: Some(4_000), ..Retention::default() };
    let start = log.extent().expect("an extent").next;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let append = || {
            for call in 0..CALLS {
                let events: Vec<Event> =
                    (call * EACH..(call + 1) * EACH).map(|number| event("followed", None, number)).collect();
                log.append(&events).expect("an append");
            }
        };
        let trim = || {
            while !done.load(Ordering::Relaxed) {
                log.trim(&small).expect("a trim");
            }
        };
        let follow = || {
            let (mut from, mut next, mut is_told) = (start, 0, false);
            // The newest few are never dropped, so the last one is read.
            while next < CALLS * EACH {
                match log.read(from, 7) {
                    Ok(events) => {
                        for (at, event) in events {
                            let number = event.fields["number"].as_u64().expect("a number");
                            assert!(number == next || is_told, "{number} came where {next} was due");
                            (from, next, is_told) = (Offset(at.0 + 1), number + 1, false);
                        }
                    }
                    Err(EventLogError::Gone { first, .. }) => {
                        assert!(first > from);
                        (from, is_told) = (first, true);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let follower = scope.spawn(follow);
        let trimmers = [scope.spawn(trim), scope.spawn(trim)];
        let appended = scope.spawn(append).join();
        let followed = follower.join();
        // Before the outcomes are looked at, so that the trimmers end in any case.
        done.store(true, Ordering::Relaxed);
        for outcome in [appended, followed].into_iter().chain(trimmers.map(std::thread::ScopedJoinHandle::join)) {
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    trim_all(log, &small);
    assert!(check_extent(log).bytes <= 4_000);
}
