//! Services that programs discover by name.
