//! The classic text commands.

pub mod admin;
pub mod arithmetic;
pub mod auth;
pub mod crawler;
pub mod delete;
pub mod get;
pub mod store;
pub mod touch;
pub mod tuning;
pub mod watch;
