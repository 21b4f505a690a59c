//! The running state, shared by the API and the signals.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::desired::Desired;
use super::edit::Draft;
use super::report::ChangeRow;
use super::store::{Staged, Store, StoreError};
use crate::control::config::Config;
use crate::control::model::Model;
use crate::control::rejection::Rejection;
use crate::control::switch::Orders;

/// Changes what runs: one change after the other, each all or nothing.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    orders: Orders,
    store: Store,
    /// What runs. Held while a change is under way.
    running: Mutex<Desired>,
}

/// A change that came about.
#[derive(Clone, Debug)]
pub struct Edited<T> {
    /// What the edit answered.
    pub answer: T,
    /// What changed.
    pub rows: Vec<ChangeRow>,
    /// What holds now.
    pub config: Arc<Config>,
}

impl Control {
    /// What changes a switch that runs `desired`.
    pub fn new(desired: Desired, orders: Orders, store: Store) -> Self {
        Self { shared: Arc::new(Shared { orders, store, running: Mutex::new(desired) }) }
    }

    /// Keeps what runs, if that is not what is kept: at a start what was made live may have given
    /// way to the file, and tapway may have chosen addresses.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn keep(&self) -> Result<(), StoreError> {
        let kept = self.running().kept();
        if self.shared.store.load()? == kept {
            return Ok(());
        }
        self.shared.store.stage(&kept)?.map_or(Ok(()), Staged::commit)
    }

    /// Edits what was made live: checked, applied and kept, or refused with nothing changed.
    ///
    /// # Errors
    /// What the edit, the check, a device or the disk says no to.
    pub fn edit<T>(
        &self,
        edit: impl FnOnce(&mut Draft<'_>) -> Result<T, Rejection>,
    ) -> Result<Edited<T>, Rejection> {
        let routed = self.shared.orders.host_routes()?;
        let mut running = self.running();
        let (next, answer) = running.edited(&routed, edit)?;
        self.change(&mut running, next, answer)
    }

    /// Reads the file anew: checked, applied and kept, or refused with nothing changed.
    ///
    /// # Errors
    /// What is wrong with the file, or cannot be done.
    pub fn reload(&self) -> Result<Edited<()>, Rejection> {
        let routed = self.shared.orders.host_routes()?;
        let mut running = self.running();
        let (next, gone) = running.reloaded(&routed)?;
        let edited = self.change(&mut running, next, ())?;
        for what in gone {
            tracing::warn!("{what}: the configuration has it, so what was made live went");
        }
        Ok(edited)
    }

    /// What the running state has beside the file on disk, and what it lacks.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn diff(&self) -> Result<Vec<ChangeRow>, Rejection> {
        let routed = self.shared.orders.host_routes()?;
        let running = self.running();
        let file = running.of_file(&routed)?;
        let file =
            Model::succeeding(&file, Some(running.model()), &std::collections::HashMap::new());
        Ok(ChangeRow::of(&running.model().since(&file), &file, running.model()))
    }

    /// What runs, as a configuration.
    ///
    /// # Errors
    /// None that is known.
    pub fn export(&self) -> Result<String, Rejection> {
        self.running().export()
    }

    /// What runs.
    pub fn config(&self) -> Arc<Config> {
        self.running().config().clone()
    }

    /// What runs, as the dataplane knows it.
    pub fn model(&self) -> Arc<Model> {
        self.running().model().clone()
    }

    fn change<T>(
        &self,
        running: &mut Desired,
        next: Desired,
        answer: T,
    ) -> Result<Edited<T>, Rejection> {
        let staged = self.shared.store.stage(&next.kept())?;
        let change = self.shared.orders.apply(Model::clone(next.model()))?;
        let kept = staged.map_or(Ok(()), Staged::commit);
        if let Err(error) = kept {
            // It must not run on and be forgotten by a restart.
            if let Err(worse) = self.shared.orders.apply(Model::clone(running.model())) {
                tracing::error!(%worse, "a change that cannot be kept cannot be taken back either");
            }
            return Err(error.into());
        }
        let rows = ChangeRow::of(&change, running.model(), next.model());
        *running = next;
        Ok(Edited { answer, rows, config: running.config().clone() })
    }

    fn running(&self) -> MutexGuard<'_, Desired> {
        // A state is replaced as a whole, so a panic leaves a good one.
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
