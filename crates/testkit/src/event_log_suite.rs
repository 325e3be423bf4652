//! What every [`EventLog`] must do, as assertions.

use std::collections::{BTreeMap, BTreeSet};

use paceline_core::Timestamp;
use paceline_core::event::{Appended, Event, EventLog, EventLogError, Offset};
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
}

/// An event of `source` with one field.
pub fn event(source: &str, id: Option<&str>, number: u64) -> Event {
    let fields = [("number".to_owned(), json!(number))].into_iter().collect();
    Event { id: id.map(str::to_owned), source: source.to_owned(), received: Timestamp(0), fields }
}

/// The whole log, read in pages of `page` events.
///
/// # Panics
/// When a page is too long or offsets do not increase.
pub fn read_all(log: &dyn EventLog, page: usize) -> Vec<(Offset, Event)> {
    let mut events: Vec<(Offset, Event)> = Vec::new();
    loop {
        let from = events.last().map_or(Offset(0), |(last, _)| Offset(last.0 + 1));
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
