//! What happens when the server is wrong, down, killed, or loses data.

use std::time::Duration;

use paceline_core::Timestamp;
use paceline_core::event::{Appended, EventLog, EventLogError, Offset};
use paceline_core::online::{OnlineError, OnlineStore};
use paceline_store::{RedisEventLog, RedisOnlineStore, RedisOptions};
use paceline_testkit::event_log_suite::{event, read_all};
use paceline_testkit::online_suite::{key, publish_marked, read_marked};

use crate::redis_server::RedisServer;

fn quick() -> RedisOptions {
    RedisOptions { connect_timeout: Duration::from_millis(500), ..RedisOptions::default() }
}

#[test]
fn a_wrong_address_or_password_is_said_without_the_password() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "s3cret"]) else { return };
    let with = |password: &str| server.url().replace("redis://", &format!("redis://:{password}@"));
    RedisOnlineStore::connect(&with("s3cret"), quick()).unwrap();
    RedisEventLog::connect(&with("s3cret"), quick()).unwrap();

    let wrong = RedisOnlineStore::connect(&with("hunter2"), quick()).unwrap_err();
    assert!(matches!(wrong, OnlineError::Broken { .. }), "{wrong:?}");
    assert!(!format!("{wrong} {wrong:?}").contains("hunter2"), "{wrong:?}");
    let wrong = RedisEventLog::connect(&with("hunter2"), quick()).unwrap_err();
    assert!(matches!(wrong, EventLogError::Broken { .. }), "{wrong:?}");
    let none = RedisOnlineStore::connect(&server.url(), quick()).unwrap_err();
    assert!(none.to_string().contains("NOAUTH"), "{none}");

    let shown = format!("{:?}", RedisOnlineStore::connect(&with("s3cret"), quick()).unwrap());
    assert!(shown.contains("127.0.0.1") && !shown.contains("s3cret"), "{shown}");

    let address = server.url().replace("redis://", "");
    let url = with("s3cret");
    drop(server);
    let down = RedisOnlineStore::connect(&url, quick()).unwrap_err();
    assert!(matches!(down, OnlineError::Unreachable { .. }), "{down:?}");
    assert!(down.to_string().contains(&address) && !format!("{down} {down:?}").contains("s3cret"), "{down:?}");
}

#[test]
fn clients_survive_a_restart_of_the_server() {
    let Some(mut server) = RedisServer::start() else { return };
    let store = RedisOnlineStore::connect(&server.url(), quick()).unwrap();
    let log = RedisEventLog::connect(&server.url(), quick()).unwrap();
    publish_marked(&store, "users", 1, 100).unwrap();
    let first = log.append(&[event("a", Some("1"), 1)]).unwrap();

    for round in 2..5 {
        server.kill();
        assert!(matches!(store.ping(), Err(OnlineError::Unreachable { .. })));
        assert!(matches!(store.get("users", &[&key(1)]), Err(OnlineError::Unreachable { .. })));
        assert!(matches!(publish_marked(&store, "users", round, 100), Err(OnlineError::Unreachable { .. })));
        assert!(matches!(log.append(&[event("a", Some("2"), 2)]), Err(EventLogError::Unavailable { .. })));
        assert!(matches!(log.read(Offset(0), 1), Err(EventLogError::Unavailable { .. })));

        server.restart();
        assert_eq!(read_marked(&store, "users", 100), Some(round - 1), "acknowledged before the kill");
        publish_marked(&store, "users", round, 100).unwrap();
        assert_eq!(read_marked(&store, "users", 100), Some(round));
        let again = log.append(&[event("a", Some("1"), 1)]).unwrap();
        assert_eq!(
            again,
            [match first[0] {
                Appended::New(offset) | Appended::Duplicate(offset) => Appended::Duplicate(offset),
            }]
        );
    }
}

#[test]
fn acknowledged_events_survive_a_killed_server() {
    let Some(mut server) = RedisServer::start() else { return };
    let log = RedisEventLog::connect(&server.url(), quick()).unwrap();
    let mut acknowledged: Vec<(String, Offset)> = Vec::new();
    for round in 0..6_u64 {
        // Two threads append until the server dies under them; the third kills it after some appends.
        let (report, reports) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for thread in 0..2_u64 {
                let (log, report) = (&log, report.clone());
                scope.spawn(move || {
                    for number in 0.. {
                        let id = format!("{round}-{thread}-{number}");
                        match log.append(&[event("kill", Some(&id), number)]) {
                            Ok(appended) => report.send((id, appended[0])).unwrap(),
                            Err(EventLogError::Unavailable { .. }) => return,
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            drop(report);
            let until_kill = 5 + 17 * round as usize % 40;
            for (count, (id, appended)) in reports.iter().enumerate() {
                let Appended::New(offset) = appended else { panic!("{id} was never sent before: {appended:?}") };
                acknowledged.push((id, offset));
                if count == until_kill {
                    server.kill();
                }
            }
        });
        server.restart();
        let logged = read_all(&log, 1_000);
        for (id, offset) in &acknowledged {
            let found: Vec<_> = logged.iter().filter(|(_, event)| event.id.as_ref() == Some(id)).collect();
            assert!(matches!(found.as_slice(), [(at, _)] if at == offset), "round {round}, {id}: {found:?}");
        }
    }
}

#[test]
fn a_publish_that_stopped_halfway_expires() {
    let Some(server) = RedisServer::start() else { return };
    let store = RedisOnlineStore::connect(&server.url(), quick()).unwrap();
    publish_marked(&store, "users", 1, 10).unwrap();
    let mut rows = (0..5_000_u32).map(|row| {
        if row == 4_000 {
            std::panic::resume_unwind(Box::new("the publisher dies"));
        }
        (key(row), vec![1])
    });
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.publish("users", Timestamp(2), &mut rows)))
        .expect_err("the publisher died");

    let mut connection = server.connection();
    let ttl = |connection: &mut redis::Connection, version: u64| -> i64 {
        redis::cmd("TTL").arg(format!("paceline:online:{{users}}:rows:{version}")).query(connection).unwrap()
    };
    assert_eq!(ttl(&mut connection, 1), -1, "what is published stays");
    assert!((1..=600).contains(&ttl(&mut connection, 2)), "what nobody points to goes");
    publish_marked(&store, "users", 3, 10).unwrap();
    assert_eq!([ttl(&mut connection, 1), ttl(&mut connection, 3)], [-2, -1], "the replaced version is gone");
}

#[test]
fn lost_rows_are_an_error_and_not_unknown_users() {
    let Some(server) = RedisServer::start() else { return };
    let store = RedisOnlineStore::connect(&server.url(), quick()).unwrap();
    publish_marked(&store, "users", 1, 10).unwrap();
    let mut connection = server.connection();
    redis::cmd("DEL").arg("paceline:online:{users}:rows:1").exec(&mut connection).unwrap();
    let error = store.get("users", &[&key(1)]).unwrap_err();
    assert!(error.to_string().contains("noeviction"), "{error}");
    redis::cmd("SET").arg("paceline:online:{users}:current").arg("9 what").exec(&mut connection).unwrap();
    for error in [store.get("users", &[&key(1)]).unwrap_err(), publish_marked(&store, "users", 2, 1).unwrap_err()] {
        assert!(error.to_string().contains("unknown format"), "{error}");
    }
}

#[test]
fn two_prefixes_share_a_server() {
    let Some(server) = RedisServer::start() else { return };
    let connect = |prefix: &str| {
        RedisOnlineStore::connect(&server.url(), RedisOptions { key_prefix: prefix.into(), ..quick() }).unwrap()
    };
    let (blue, green) = (connect("blue"), connect("green"));
    publish_marked(&blue, "users", 1, 3).unwrap();
    assert_eq!((read_marked(&blue, "users", 3), read_marked(&green, "users", 3)), (Some(1), None));
}

#[test]
fn threads_beyond_the_pool_wait_for_a_connection() {
    let Some(server) = RedisServer::start() else { return };
    let options = RedisOptions { connections_max: 2, connect_timeout: Duration::from_secs(20), ..quick() };
    let store = RedisOnlineStore::connect(&server.url(), options).unwrap();
    publish_marked(&store, "users", 1, 20).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(read_marked(&store, "users", 20), Some(1))));
        }
    });
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut server.connection()).unwrap();
    assert!(clients.lines().count() <= 3, "two of the pool and the test's own: {clients}");
}
