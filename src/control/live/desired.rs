//! File and live together, and what they come to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::edit::Draft;
use super::made::Made;
use super::store::{Kept, Store, StoreError};
use crate::control::config::{Config, ConfigErrors, LoadError, Memory, Origin, Sources};
use crate::control::model::{Model, Processes};
use crate::control::rejection::{Rejection, RejectionKind};

/// The desired state. Changing it makes another one; the running one stays as it is until that
/// is applied.
#[derive(Clone, Debug)]
pub struct Desired {
    origin: Origin,
    name: String,
    text: Arc<str>,
    pub(super) made: Made,
    pub(super) memory: Memory,
    processes: Processes,
    /// What all this says.
    pub(super) config: Arc<Config>,
    /// What the dataplane and the broker are told.
    pub(super) model: Arc<Model>,
}

/// Why there is no desired state to start with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] LoadError),
    /// What is kept cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file alone is good, and what was made live does not go with it.
    #[error(
        "what was made live ({}) does not go with {file}:\n{errors}\n\
         correct the file, or remove {} to start without what was made live", .kept.display(),
         .kept.display()
    )]
    Clash {
        /// The configuration.
        file: String,
        /// What was made live.
        kept: PathBuf,
        /// What is wrong.
        errors: ConfigErrors,
    },
}

impl Desired {
    /// Reads a configuration, and what `store` keeps.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(origin: &Origin, store: &Store, routed: &[Ipv4Net]) -> Result<Self, StartError> {
        let (name, text) = origin.read()?;
        let mut memory = Memory::default();
        let alone =
            Config::compose(Sources { name: &name, text: &text, live: "", routed }, &mut memory)
                .map_err(LoadError::from)?;
        let Kept { mut made, mut memory } = store.load()?;
        for gone in made.give_way(&alone.config) {
            tracing::warn!("{gone}: {name} has it, so what was made live goes");
        }
        let live = made.to_text();
        let sources = Sources { name: &name, text: &text, live: &live, routed };
        let loaded = Config::compose(sources, &mut memory).map_err(|errors| StartError::Clash {
            file: name.clone(),
            kept: store.path().unwrap_or(Path::new("")).to_owned(),
            errors,
        })?;
        let model = Model::new(&loaded.config);
        let desired = Self {
            origin: origin.clone(),
            name,
            text: text.into(),
            made,
            memory,
            processes: Processes::new(),
            config: Arc::new(loaded.config.clone()),
            model: Arc::new(model),
        };
        Ok(desired)
    }

    /// What the file is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What file and live say.
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What the dataplane and the broker are told.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What is to be kept.
    pub(super) fn kept(&self) -> Kept {
        Kept { made: self.made.lasting(), memory: self.memory.clone() }
    }

    /// The state after an edit of what was made live.
    ///
    /// # Errors
    /// What the edit, or the check of all that comes of it, says no to.
    pub(super) fn edited<T>(
        &self,
        routed: &[Ipv4Net],
        edit: impl FnOnce(&mut Draft<'_>) -> Result<T, Rejection>,
    ) -> Result<(Self, T), Rejection> {
        let mut draft = Draft {
            made: self.made.clone(),
            processes: self.processes.clone(),
            config: &self.config,
        };
        let answer = edit(&mut draft)?;
        let Draft { made, processes, .. } = draft;
        let next = Self { made, processes, ..self.clone() };
        Ok((next.composed(routed).map_err(|errors| first_of(&errors))?, answer))
    }

    /// The state after the file was read anew, and what gives way to it.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or with what was made live beside it.
    pub(super) fn reloaded(&self, routed: &[Ipv4Net]) -> Result<(Self, Vec<String>), Rejection> {
        let (name, text) = self.origin.read().map_err(unreadable)?;
        let mut next = Self { name, text: text.into(), ..self.clone() };
        let alone = next.alone(routed).map_err(|errors| wrong(&errors))?;
        let gone = next.made.give_way(&alone);
        let next = next.composed(routed).map_err(|errors| wrong(&errors))?;
        if let Some(what) = next.model.needs_restart(&self.model) {
            return Err(Rejection::conflict(
                format!("{what} is other than at the start, and holds from a start only"),
                "stop tapway and start it again, or change it back",
            ));
        }
        Ok((next, gone))
    }

    /// What the file on disk says without what was made live.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of_file(&self, routed: &[Ipv4Net]) -> Result<Config, Rejection> {
        let (name, text) = self.origin.read().map_err(unreadable)?;
        let file = Self { name, text: text.into(), ..self.clone() };
        file.alone(routed).map_err(|errors| wrong(&errors))
    }

    /// The file's own table and what was made live in it, with what tapway chose.
    pub fn export(&self) -> Result<String, Rejection> {
        super::report::export(&self.text, &self.made.lasting(), &self.config)
    }

    fn alone(&self, routed: &[Ipv4Net]) -> Result<Config, ConfigErrors> {
        let sources = Sources { name: &self.name, text: &self.text, live: "", routed };
        Ok(Config::compose(sources, &mut self.memory.clone())?.config)
    }

    fn composed(mut self, routed: &[Ipv4Net]) -> Result<Self, ConfigErrors> {
        let live = self.made.to_text();
        let sources = Sources { name: &self.name, text: &self.text, live: &live, routed };
        let loaded = Config::compose(sources, &mut self.memory)?;
        self.model =
            Arc::new(Model::succeeding(&loaded.config, Some(&self.model), &self.processes));
        self.config = Arc::new(loaded.config);
        let in_use = |pid: &u32| self.config.uses_process(*pid);
        self.processes.retain(|pid, _| in_use(pid));
        Ok(self)
    }
}

/// What an edit is told: the file was good before, so this is about the edit.
fn first_of(errors: &ConfigErrors) -> Rejection {
    let first = errors.errors.iter().find(|error| error.is_live).or(errors.errors.first());
    let rejection = first.map(super::super::config::Problem::rejection);
    rejection.unwrap_or_else(|| Rejection::new(RejectionKind::Failed, errors, ""))
}

fn wrong(errors: &ConfigErrors) -> Rejection {
    let what = format!("the configuration is wrong\n{errors}");
    Rejection::new(RejectionKind::Configuration, what, "")
}

fn unreadable(error: LoadError) -> Rejection {
    let kind = match &error {
        LoadError::Unreadable { error, .. } => match error.kind() {
            std::io::ErrorKind::NotFound => RejectionKind::NotFound,
            std::io::ErrorKind::PermissionDenied => RejectionKind::Permission,
            _ => RejectionKind::Failed,
        },
        LoadError::TooLong { .. } | LoadError::Wrong(_) => RejectionKind::Configuration,
    };
    Rejection::new(kind, error, "")
}
