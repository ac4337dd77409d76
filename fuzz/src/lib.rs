//! What the targets share: a form as two parsers see it, and the corpus of real bodies.

pub mod corpus;
pub mod form;
