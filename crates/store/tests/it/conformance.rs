//! Both implementations of each store pass the same suite.

use paceline_core::{OnlineStore as _, Timestamp};
use paceline_store::{EmbeddedEventLog, EmbeddedOnlineStore, RedisEventLog, RedisOnlineStore, RedisOptions};
use paceline_testkit::event_log_suite::check_event_log;
use paceline_testkit::online_suite::{check_online_store, key, publish_marked};
use paceline_testkit::push_suite::check_pushes;

use crate::redis_server::RedisServer;

#[test]
fn embedded_online_store() {
    let directory = tempfile::tempdir().unwrap();
    check_online_store(&EmbeddedOnlineStore::open(directory.path()).unwrap());
}

#[test]
fn redis_online_store() {
    let Some(server) = RedisServer::start() else { return };
    check_online_store(&RedisOnlineStore::connect(&server.url(), RedisOptions::default()).unwrap());
}

/// One client's tables are replaced by another while it believes in the versions before.
#[test]
fn redis_tables_that_another_client_replaced_are_read_together() {
    let Some(server) = RedisServer::start() else { return };
    let client = || RedisOnlineStore::connect(&server.url(), RedisOptions::default()).unwrap();
    let (reader, writer) = (client(), client());
    let keys = [key(0), key(1)];
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    for as_of in 1..5 {
        for table in ["a", "b"] {
            publish_marked(&writer, table, as_of, 2).unwrap();
        }
        let read = reader.get_tables(&[("a", &keys), ("b", &keys)]).unwrap();
        for snapshot in read {
            assert_eq!(snapshot.as_of, Some(Timestamp(as_of)));
            assert_eq!(snapshot.values, vec![Some(as_of.to_be_bytes().to_vec()); 2]);
        }
    }
}

#[test]
fn embedded_online_store_takes_pushes() {
    let directory = tempfile::tempdir().unwrap();
    check_pushes(&EmbeddedOnlineStore::open(directory.path()).unwrap());
}

#[test]
fn redis_online_store_takes_pushes() {
    let Some(server) = RedisServer::start() else { return };
    check_pushes(&RedisOnlineStore::connect(&server.url(), RedisOptions::default()).unwrap());
}

#[test]
fn embedded_event_log() {
    let directory = tempfile::tempdir().unwrap();
    check_event_log(&EmbeddedEventLog::open(directory.path()).unwrap());
}

#[test]
fn redis_event_log() {
    let Some(server) = RedisServer::start() else { return };
    check_event_log(&RedisEventLog::connect(&server.url(), RedisOptions::default()).unwrap());
}
