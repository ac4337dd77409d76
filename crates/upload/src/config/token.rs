use std::ffi::OsString;

use super::{Config, Stop};
use crate::auth::Token;

/// Where the token is, if not in a file. Never an argument: arguments show in the list of processes.
pub const TOKEN_VARIABLE: &str = "HEAPLINE_TOKEN";

/// The largest token file that is read.
const TOKEN_FILE_BYTES_MAX: u64 = 64 << 10;

/// Who may use the public port.
#[derive(Debug)]
pub enum Access {
    /// Whoever has the token that was given.
    Given(Token),
    /// Nothing was given, and only this machine can connect: a token is to be made and shown.
    LoopbackOnly,
}

impl Access {
    /// Decides from the token file, then from the value of [`TOKEN_VARIABLE`].
    ///
    /// # Errors
    /// An unreadable or empty token, and none for an address that others can reach.
    pub fn resolve(config: &Config, variable: Option<OsString>) -> Result<Self, Stop> {
        let refused = |what: String| Stop::Refused(what);
        let (source, secret) = match (&config.token_file, variable) {
            (Some(path), _) => {
                let source = format!("token file {}", path.display());
                let secret = read(path).map_err(|error| refused(format!("{source}: {error}")))?;
                (source, secret)
            }
            (None, Some(value)) => {
                let not_utf8 = |_| refused(format!("{TOKEN_VARIABLE} is not UTF-8"));
                (TOKEN_VARIABLE.to_owned(), value.into_string().map_err(not_utf8)?)
            }
            (None, None) if config.listen.ip().is_loopback() => return Ok(Self::LoopbackOnly),
            (None, None) => {
                return Err(refused(format!(
                    "--listen {} can be reached by others: give a token by --token-file or {TOKEN_VARIABLE}",
                    config.listen
                )));
            }
        };
        Token::new(&secret)
            .map(Self::Given)
            .ok_or_else(|| refused(format!("{source} holds no token of printable characters without spaces")))
    }
}

fn read(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut secret = String::new();
    std::fs::File::open(path)?.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resolve(arguments: &[&str], variable: Option<&str>) -> Result<Access, Stop> {
        let config = Config::load(["heapline-upload"].iter().chain(arguments).map(OsString::from)).unwrap();
        Access::resolve(&config, variable.map(Into::into))
    }

    #[test]
    fn loopback_may_go_without_a_token_and_nothing_else() {
        assert!(matches!(resolve(&[], None), Ok(Access::LoopbackOnly)));
        assert!(matches!(resolve(&["--listen", "[::1]:0"], None), Ok(Access::LoopbackOnly)));
        assert!(matches!(resolve(&["--listen", "0.0.0.0:8000"], None), Err(Stop::Refused(_))));
        assert!(matches!(resolve(&["--listen", "0.0.0.0:8000"], Some("t")), Ok(Access::Given(_))));
    }

    #[test]
    fn an_empty_or_unreadable_token_is_refused() {
        assert!(matches!(resolve(&[], Some(" \n")), Err(Stop::Refused(_))));
        assert!(matches!(resolve(&["--token-file", "/nonexistent"], Some("t")), Err(Stop::Refused(_))));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "  \n").unwrap();
        let path = file.path().to_str().unwrap();
        assert!(matches!(resolve(&["--token-file", path], None), Err(Stop::Refused(_))));
        std::fs::write(&file, "t\n").unwrap();
        assert!(matches!(resolve(&["--token-file", path], None), Ok(Access::Given(_))));
    }
}
