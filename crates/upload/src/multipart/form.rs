//! What the parts of a form mean to an upload server.

use super::PartHead;
use crate::filename::stored_name;

/// One part, told apart by its head.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// It has a `filename`: to be stored.
    File(FilePart),
    /// A plain field: read, counted and dropped.
    Field,
}

/// A file of a form.
#[derive(Debug, PartialEq, Eq)]
pub struct FilePart {
    /// Name of the form field.
    pub field: String,
    /// Name to store it under.
    pub filename: String,
    /// Content-Type as sent.
    pub content_type: Option<String>,
    /// `filename=""`: a file input that the user left empty, unless bytes follow.
    pub unnamed: bool,
}

impl From<PartHead> for Part {
    fn from(head: PartHead) -> Self {
        match head.filename {
            None => Part::Field,
            Some(sent) => Part::File(FilePart {
                field: head.name,
                filename: stored_name(&sent),
                content_type: head.content_type,
                unnamed: sent.is_empty(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filename_makes_a_file() {
        let part = |filename: Option<&str>| {
            Part::from(PartHead { name: "f".into(), filename: filename.map(Into::into), content_type: None })
        };
        let file = |filename: &str, unnamed| {
            Part::File(FilePart { field: "f".into(), filename: filename.into(), content_type: None, unnamed })
        };
        assert_eq!(part(None), Part::Field);
        assert_eq!(part(Some("")), file("file", true));
        assert_eq!(part(Some("..")), file("file", false));
        assert_eq!(part(Some("a/b.txt")), file("b.txt", false));
    }
}
