//! A TCP server on a loopback port with one thread a connection, for tests that need no more.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Accepts until it is dropped; then every connection is cut and every thread has ended.
pub struct Listener {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on a port (0: any) and gives each connection with its number to `serve`, in a thread of its own.
    pub fn start(port: u16, serve: impl Fn(u64, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopping);
        let thread = thread::spawn(move || accept(&listener, &flag, &Arc::new(serve)));
        Self { address, stopping, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The accept that is waiting has to see the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn accept(
    listener: &TcpListener,
    stopping: &AtomicBool,
    serve: &Arc<impl Fn(u64, TcpStream) + Send + Sync + 'static>,
) {
    let open: Arc<Mutex<HashMap<u64, TcpStream>>> = Arc::default();
    let mut workers: Vec<JoinHandle<()>> = Vec::new();
    for (number, stream) in (0..).zip(listener.incoming()) {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        open.lock().unwrap().insert(number, stream.try_clone().unwrap());
        let (open, serve) = (Arc::clone(&open), Arc::clone(serve));
        workers.retain(|worker| !worker.is_finished());
        workers.push(thread::spawn(move || {
            serve(number, stream);
            open.lock().unwrap().remove(&number);
        }));
    }
    for stream in open.lock().unwrap().values() {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
    for worker in workers {
        worker.join().unwrap();
    }
}
