//! The protocol, for servers in Rust as well.

// Generated from `proto/gate/service/v1/service.proto`, whose comments are those of the items.
#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("gate.service.v1");
