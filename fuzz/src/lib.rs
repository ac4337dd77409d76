//! What the targets share: a form as two parsers see it.

pub mod form;
