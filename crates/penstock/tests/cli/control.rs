//! The control socket itself: who may use it, and what strange clients can do to it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};

use penstock_daemon::control::{BindError, ControlSocket};

use crate::fake::{Daemon, outage};

/// Sends these bytes and has all that comes back.
fn raw(daemon: &Daemon, request: &str) -> String {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn bind(path: &std::path::Path) -> Result<(), BindError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    ControlSocket::bind(path).map(drop)
}

#[test]
fn the_socket_is_for_its_user_and_group_and_goes_with_the_daemon() {
    let mut daemon = Daemon::with(outage());
    let mode = fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    daemon.stop();
    assert!(!daemon.socket().exists());
}

#[test]
fn a_socket_that_a_dead_daemon_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    assert!(bind(&path).is_ok());
}

#[test]
fn a_socket_on_which_somebody_answers_and_a_file_that_is_none_are_left_alone() {
    let daemon = Daemon::with(outage());
    assert!(matches!(bind(&daemon.socket()), Err(BindError::InUse(_))));
    assert_eq!(daemon.run(&["status"]).exit, Some(0));
    let file = daemon.dir.path().join("precious");
    fs::write(&file, "mail").unwrap();
    assert!(matches!(bind(&file), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mail");
}

#[test]
fn every_refusal_is_json_with_a_code() {
    let daemon = Daemon::with(outage());
    let requests = [
        ("GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "404", "PS-D103"),
        ("DELETE /v1/status HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "404", "PS-D103"),
        ("GET /v1/messages/x HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "400", "PS-D101"),
        ("GET /v1/messages/d-99 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "404", "PS-D102"),
        ("GET /v1/queue?limit=many HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "400", "PS-D101"),
        (post("/v1/remove", "{"), "400", "PS-D101"),
        (post("/v1/remove", "{\"ids\":[],\"reason\":\"x\"}"), "400", "PS-D101"),
        (post("/v1/remove", "{\"ids\":[\"d-1\"]}"), "400", "PS-D101"),
        (post("/v1/release", "\"some\""), "400", "PS-D101"),
    ];
    for (request, status, code) in requests {
        let answer = raw(&daemon, &request);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request} → {answer}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], code, "{request} → {answer}");
    }
    assert_eq!(daemon.told(), [""; 0]);
}

#[test]
fn more_than_a_request_may_hold_is_refused() {
    let daemon = Daemon::with(outage());
    let ids = vec!["\"d-1\""; 1_001].join(",");
    let answer = raw(&daemon, &post("/v1/release", &format!("{{\"ids\":[{ids}]}}")));
    assert!(answer.contains("at most 1000 at once"), "{answer}");
    let huge = "9".repeat(70_000);
    let answer = raw(&daemon, &post("/v1/release", &format!("{{\"ids\":[\"{huge}\"]}}")));
    assert!(answer.contains("PS-D101"), "{answer}");
    assert_eq!(daemon.told(), [""; 0]);
}

#[test]
fn a_connection_is_for_one_request() {
    let daemon = Daemon::with(outage());
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = raw(&daemon, &request.repeat(2));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.ends_with("\r\n\r\npenstock_up 1\n"), "{answer}");
}

#[test]
fn clients_that_say_nothing_do_not_stop_the_daemon_from_stopping() {
    let mut daemon = Daemon::with(outage());
    let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    // Connections are accepted in order: when this is answered, those above are open.
    daemon.run(&["status"]).printed();
    daemon.stop();
    assert!(!daemon.socket().exists());
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    }
}
