//! The private files of hosts that run as commands, by the hosts' names: shared by who attaches
//! hosts and by who writes the files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::{EtcFile, HostFiles, OpenError};

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct PrivateFiles {
    hosts: Arc<Mutex<HashMap<String, Files>>>,
}

/// One host's, and what was written to them.
#[derive(Debug)]
struct Files {
    files: HostFiles,
    written: HashMap<EtcFile, String>,
}

impl PrivateFiles {
    /// Enters a host's files.
    pub fn insert(&self, host: &str, files: HostFiles) {
        self.lock().insert(host.to_owned(), Files { files, written: HashMap::new() });
    }

    /// Forgets a host's files: they go with its process.
    pub fn remove(&self, host: &str) {
        self.lock().remove(host);
    }

    /// Names of the hosts that have files.
    pub fn hosts(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Writes a file unless it holds the text already; nothing happens to a host without files.
    ///
    /// # Errors
    /// What the system refused.
    pub fn write(&self, host: &str, file: EtcFile, text: String) -> Result<(), OpenError> {
        let mut hosts = self.lock();
        let Some(of_host) = hosts.get_mut(host) else { return Ok(()) };
        if of_host.written.get(&file) == Some(&text) {
            return Ok(());
        }
        of_host.files.write(file, &text)?;
        of_host.written.insert(file, text);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Files>> {
        // Each entry is whole at any time.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
