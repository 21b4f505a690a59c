//! The thread that serves bound ports.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle as Task;

use super::wanted::Port;
use super::{datagram, stream};
use crate::io::HostSocket;

enum Order {
    Serve(Port, HostSocket, SocketAddrV4),
    /// Answered once the port's socket is closed.
    Stop(Port, SyncSender<()>),
}

/// A handle to the thread; dropped, it ends with all connections.
#[derive(Debug)]
pub(super) struct Server {
    /// None only while it is dropped.
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the process is out of threads or file descriptors.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (orders, inbox) = unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("published".to_owned())
            .spawn(move || runtime.block_on(run(inbox)))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Serves a port, whose connections before end; `socket` listens if it is one of TCP.
    pub(super) fn serve(&self, port: Port, socket: HostSocket, target: SocketAddrV4) {
        self.tell(Order::Serve(port, socket, target));
    }

    /// Serves a port no longer: when this returns, its socket is closed here.
    pub(super) fn stop(&self, port: Port) {
        let (done, is_done) = sync_channel(1);
        self.tell(Order::Stop(port, done));
        let _ = is_done.recv();
    }

    fn tell(&self, order: Order) {
        // The thread ends after the last order only.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

async fn run(mut inbox: UnboundedReceiver<Order>) {
    let slots = Arc::new(Semaphore::new(stream::MAX_CONNECTIONS));
    let mut served: HashMap<Port, Task<()>> = HashMap::new();
    while let Some(order) = inbox.recv().await {
        let (Order::Serve(port, ..) | Order::Stop(port, _)) = &order;
        if let Some(former) = served.remove(port) {
            former.abort();
            // With the task its socket goes.
            let _ = former.await;
        }
        let (port, socket, target) = match order {
            Order::Serve(port, socket, target) => (port, socket, target),
            Order::Stop(_, done) => {
                // Whoever asked waits for it.
                let _ = done.send(());
                continue;
            }
        };
        let task = if port.is_tcp {
            match listener(socket) {
                Ok(listener) => tokio::spawn(stream::serve(listener, target, slots.clone())),
                Err(error) => {
                    tracing::error!(%error, %port, "a published port is not served");
                    continue;
                }
            }
        } else {
            tokio::spawn(datagram::serve(socket, target))
        };
        served.insert(port, task);
    }
}

fn listener(socket: HostSocket) -> io::Result<TcpListener> {
    TcpListener::from_std(std::net::TcpListener::from(OwnedFd::from(socket)))
}
