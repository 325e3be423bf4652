//! Both implementations of each store pass the same suite.

use paceline_store::{EmbeddedEventLog, EmbeddedOnlineStore, RedisEventLog, RedisOnlineStore, RedisOptions};
use paceline_testkit::event_log_suite::check_event_log;
use paceline_testkit::online_suite::check_online_store;
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
