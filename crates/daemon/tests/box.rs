//! On a box the ledger also says what becomes of the box: the first process tells it, and the service writes it down.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use penstock_daemon::control::types::ErrorBody;
use penstock_daemon::keeper::{News, Request, Said};
use support::{Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

/// A first process that has nothing but news, each sentence once.
fn first_process(site: &Site) -> Arc<Mutex<Vec<String>>> {
    let listener = UnixListener::bind(site.keeper_path()).unwrap();
    let news = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&news);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = String::new();
            stream.read_to_string(&mut asked).unwrap();
            let answer = match serde_json::from_str(&asked).unwrap() {
                Request::News => Said::Well(News { sentences: std::mem::take(&mut *told.lock().unwrap()) }),
                other => Said::Refused(ErrorBody {
                    code: "PS-T001".to_owned(),
                    message: format!("{other:?}"),
                    help: String::new(),
                }),
            };
            // Who has gone is past caring.
            let _ = stream.write_all(&serde_json::to_vec(&answer).unwrap());
        }
    });
    news
}

fn told(site: &Site) -> Vec<String> {
    let page = site.json("GET", "/v1/events?kind=box&limit=100", "");
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_becomes_of_the_box_stands_in_the_ledger_once_also_what_is_told_as_it_ends() {
    let mut site = Site::new("");
    let news = first_process(&site);
    news.lock().unwrap().push("slot a has started the system".to_owned());
    site.start();
    eventually("it is written down", || (told(&site) == ["slot a has started the system"]).then_some(()));
    news.lock().unwrap().push("slot b is tried with the next start".to_owned());
    assert!(site.stop());
    assert!(news.lock().unwrap().is_empty(), "it was fetched before the end");
    site.start();
    assert_eq!(told(&site), ["slot a has started the system", "slot b is tried with the next start"]);
}
