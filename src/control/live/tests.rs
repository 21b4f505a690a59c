//! The desired state against a switch over memory wires.
