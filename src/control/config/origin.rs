//! Where a configuration comes from.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::problem::Problems;
use super::{Config, ConfigErrors, LoadError, Loaded, MAX_FILE, Memory};

/// The configuration that holds when no file is given.
pub const DEFAULT_CONFIG: &str = include_str!("../../../tools/configs/default.toml");
/// What the embedded configuration is called in messages.
pub const DEFAULT_NAME: &str = "(embedded default)";
/// The one for a host whose address is shared, with [`SHARED_DEVICE`] in the device's place.
const SHARED_CONFIG: &str = include_str!("../../../tools/configs/docker.toml");
const SHARED_DEVICE: &str = "\"eth0\"";

/// Where a configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// [`DEFAULT_CONFIG`].
    #[default]
    Embedded,
    /// The embedded one whose hosts leave by the address that this host has on a device.
    Shared {
        /// The device's name.
        device: String,
    },
    /// A file.
    File(PathBuf),
}

impl Origin {
    /// Reads and checks it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let (name, text) = self.read()?;
        Ok(Config::parse(&name, &text)?)
    }

    /// What it is called in messages, and its text.
    ///
    /// # Errors
    /// If it cannot be read, or is no text.
    pub fn read(&self) -> Result<(String, String), LoadError> {
        match self {
            Self::Embedded => Ok((DEFAULT_NAME.to_owned(), DEFAULT_CONFIG.to_owned())),
            Self::Shared { device } => {
                let quoted = toml::Value::from(device.as_str()).to_string();
                let name = format!("(embedded, by {device})");
                Ok((name, SHARED_CONFIG.replace(SHARED_DEVICE, &quoted)))
            }
            Self::File(path) => read_text(path),
        }
    }
}

/// A file's name in messages, and its text.
fn read_text(path: &Path) -> Result<(String, String), LoadError> {
    let name = path.display().to_string();
    let bytes =
        read_file(path).map_err(|error| LoadError::Unreadable { path: name.clone(), error })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLong { path: name });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(not_text(&name, error.as_bytes()).into()),
    }
}

/// What is wrong with bytes that are no text. They are replaced, so that what else is wrong is
/// told as well.
fn not_text(name: &str, bytes: &[u8]) -> ConfigErrors {
    let text = String::from_utf8_lossy(bytes);
    let at = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let byte = bytes.get(at).copied().unwrap_or_default();
    let mut problems = Problems::new(&text, usize::MAX);
    let what = format!("byte 0x{byte:02x} is not UTF-8");
    problems.error(at..at, "", what, "save the file as UTF-8 text");
    // Another encoding, or no text at all: what else would be said of it means nothing.
    if !bytes.contains(&0) {
        let draft = Config::draft(&mut problems, (&text, ""), &mut Memory::default(), &[]);
        drop(draft);
    }
    problems.finish();
    ConfigErrors { file: name.to_owned(), errors: problems.errors }
}

/// A file up to the byte that makes it too long: a device may have no end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::UplinkKind;

    #[test]
    fn the_embedded_ones_are_clean_and_the_shared_one_has_the_device_that_is_named() {
        let default = Origin::default().load().unwrap();
        assert_eq!((default.name.as_str(), default.warnings.len()), (DEFAULT_NAME, 0));
        let shared = Origin::Shared { device: "enp1s0".to_owned() }.load().unwrap();
        assert_eq!(shared.warnings, Vec::<String>::new());
        let Some(UplinkKind::Shared { device, .. }) = shared.config.uplink.map(|up| up.kind) else {
            panic!("no shared uplink");
        };
        assert_eq!(device.get_ref(), "enp1s0");
    }

    #[test]
    fn a_device_whose_name_is_none_is_an_error_and_nothing_else() {
        let device = "a\"\n[network.x]\n".to_owned();
        let error = Origin::Shared { device }.load().unwrap_err().to_string();
        assert!(error.contains("uplink.device"), "{error}");
    }
}
