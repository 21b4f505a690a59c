//! The thread that answers for all namespaces and asks all upstreams.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::counters::Counters;
use super::forwarder::{Asker, Forwarder, Upstreams};
use super::front::{Front, Names};
use super::resolv_conf::HostResolvers;
use crate::engine::NameQuery;
use crate::io::{AskResolver, Dataplane, NameSockets};
use crate::local::dns::{NameTable, Place, Query, Transport};

/// Questions from the dataplane that wait for this thread; more are lost, and asked again.
const MAX_FORWARDS: usize = 1024;

/// A namespace whose hosts are answered.
#[derive(Debug)]
pub struct Served {
    /// What it is known by.
    pub name: String,
    /// Where its host is.
    pub places: Vec<Place>,
    /// Sockets that were opened there.
    pub sockets: NameSockets,
}

enum Request {
    Names(Arc<NameTable>),
    Upstreams(Upstreams),
    Serve(Served),
    Move(String, Vec<Place>),
    Leave(String),
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    /// None once it is to end.
    requests: Option<mpsc::UnboundedSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    /// Starts the thread, and lets hosts that ask the gateways of `dataplane` ask it.
    ///
    /// It counts in `counters`.
    ///
    /// # Errors
    /// If the process is out of threads or file descriptors.
    pub fn start(dataplane: &Arc<Dataplane>, counters: Arc<Counters>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (requests, inbox) = mpsc::unbounded_channel();
        let (forwards, asked) = mpsc::channel(MAX_FORWARDS);
        let forwarder = (counters, dataplane.clone());
        let thread = std::thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || run(&runtime, inbox, asked, forwarder))?;
        let ask: AskResolver = Arc::new(move |query| forwards.try_send(query).is_ok());
        // If the dataplane is gone, nobody asks.
        let _ = dataplane.set_resolver(&ask);
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Replaces all names.
    pub fn set_names(&self, names: Arc<NameTable>) {
        self.tell(Request::Names(names));
    }

    /// Replaces the upstreams.
    pub fn set_upstreams(&self, upstreams: Upstreams) {
        self.tell(Request::Upstreams(upstreams));
    }

    /// Answers in a namespace, in place of what answered there before.
    pub fn serve(&self, served: Served) {
        self.tell(Request::Serve(served));
    }

    /// The host of a namespace is elsewhere now.
    pub fn move_to(&self, name: &str, places: Vec<Place>) {
        self.tell(Request::Move(name.to_owned(), places));
    }

    /// Answers in a namespace no longer.
    pub fn leave(&self, name: &str) {
        self.tell(Request::Leave(name.to_owned()));
    }

    fn tell(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // A thread that panicked has said so.
            let _ = requests.send(request);
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

fn run(
    runtime: &Runtime,
    inbox: mpsc::UnboundedReceiver<Request>,
    asked: mpsc::Receiver<NameQuery>,
    (counters, dataplane): (Arc<Counters>, Arc<Dataplane>),
) {
    let forwarder = Rc::new(Forwarder::new(counters, HostResolvers::default()));
    let local = LocalSet::new();
    local.spawn_local(answer_engines(asked, forwarder.clone(), dataplane));
    local.block_on(runtime, follow(inbox, forwarder));
}

/// Does what it is told until nobody is there to tell.
async fn follow(mut inbox: mpsc::UnboundedReceiver<Request>, forwarder: Rc<Forwarder>) {
    let names: Names = Rc::new(RefCell::default());
    let mut fronts: HashMap<String, Front> = HashMap::new();
    while let Some(request) = inbox.recv().await {
        match request {
            Request::Names(table) => drop(names.replace(table)),
            Request::Upstreams(upstreams) => forwarder.set_upstreams(upstreams),
            Request::Leave(name) => drop(fronts.remove(&name)),
            Request::Move(name, places) => {
                if let Some(front) = fronts.get(&name) {
                    front.move_to(places);
                }
            }
            Request::Serve(Served { name, places, sockets }) => {
                drop(fronts.remove(&name));
                let (names, forwarder) = (names.clone(), forwarder.clone());
                match Front::open((&name, places), sockets, names, forwarder) {
                    Ok(front) => drop(fronts.insert(name, front)),
                    Err(error) => tracing::warn!(name, %error, "no resolver in the namespace"),
                }
            }
        }
    }
}

/// Asks for hosts that asked a gateway.
async fn answer_engines(
    mut asked: mpsc::Receiver<NameQuery>,
    forwarder: Rc<Forwarder>,
    dataplane: Arc<Dataplane>,
) {
    while let Some(asked) = asked.recv().await {
        let Ok(query) = Query::parse(&asked.message) else { continue };
        let (forwarder, dataplane) = (forwarder.clone(), dataplane.clone());
        spawn_local(async move {
            let asker = Asker::Gateway(asked.from.ingress);
            let transport = match asked.from.connection {
                Some(_) => Transport::Tcp,
                None => Transport::Udp,
            };
            let answer = forwarder.resolve(asker, (&query, &asked.message), transport).await;
            // If the dataplane is gone, so is the asker's way.
            let _ = dataplane.answer_name(asked.worker, asked.from, answer);
        });
    }
}
