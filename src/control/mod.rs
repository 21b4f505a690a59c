//! Configuration, desired state, API.
