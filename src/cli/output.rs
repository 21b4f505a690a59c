//! stdout: the one place that writes to it.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use super::Failure;

/// Results for the user, buffered until [`Output::flush`] or [`Output::finish`].
#[derive(Debug)]
pub struct Output {
    stdout: BufWriter<Stdout>,
}

impl Output {
    /// The process's stdout.
    pub fn stdout() -> Self {
        Self { stdout: BufWriter::new(io::stdout()) }
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// If stdout does not take it.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes()).map_err(|error| Failure::write("stdout", &error))
    }

    /// Writes a line and shows it at once: for what the user watches.
    ///
    /// # Errors
    /// If stdout does not take it.
    pub fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.stdout, "{line}").map_err(|error| Failure::write("stdout", &error))?;
        self.finish()
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// If stdout does not take them.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write_all(bytes)
    }

    /// Hands everything written to the reader.
    ///
    /// # Errors
    /// If stdout does not take it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }

    /// As [`Output::flush`].
    ///
    /// # Errors
    /// If stdout does not take it.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.flush().map_err(|error| Failure::write("stdout", &error))
    }
}
