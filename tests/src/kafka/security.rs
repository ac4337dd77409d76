//! A listener beside the plain one that asks for a password, or speaks TLS.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::part::{self, Missing};

/// Of a key store that lives as long as a test.
const STORE_PASSWORD: &str = "of-a-test-only";

/// What the second listener asks for.
#[derive(Debug, Clone)]
pub enum Security {
    /// SASL/PLAIN over plain TCP.
    Password { user: String, password: String },
    /// TLS, with the broker's key in this PKCS #12 file.
    Tls { key_store: PathBuf },
}

impl Security {
    /// A key for `127.0.0.1`, signed by itself: the listener, and the certificate for clients, both in `directory`.
    ///
    /// # Errors
    /// Where Java's keytool is missing.
    pub fn tls(directory: &Path) -> Result<(Self, PathBuf), Missing> {
        let (key_store, certificate) = (directory.join("broker.p12"), directory.join("broker.pem"));
        let at_store = ["-alias", "broker", "-storetype", "PKCS12", "-storepass", STORE_PASSWORD, "-keystore"];
        let keytool = |verb: &str, more: &[&str]| -> Result<(), Missing> {
            let mut command = Command::new(part::program("keytool")?);
            command.arg(verb).args(at_store).arg(&key_store).args(more);
            let missing = |why: String| Missing { part: "keytool".to_owned(), why };
            let output = command.output().map_err(|error: io::Error| missing(error.to_string()))?;
            if output.status.success() { Ok(()) } else { Err(missing(format!("{verb}: {}", output.status))) }
        };
        let named = ["-keyalg", "EC", "-validity", "2", "-dname", "CN=127.0.0.1", "-ext", "SAN=IP:127.0.0.1"];
        keytool("-genkeypair", &named)?;
        keytool("-exportcert", &["-rfc", "-file", &certificate.to_string_lossy()])?;
        Ok((Self::Tls { key_store }, certificate))
    }

    /// Lines that take the place of the plain ones.
    pub(super) fn properties(&self, plain: SocketAddr, controller: SocketAddr, secured: SocketAddr) -> String {
        let (protocol, own) = match self {
            Self::Password { user, password } => {
                let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
                let login = format!("{module} required user_{user}=\"{password}\";");
                let mechanisms = "sasl.enabled.mechanisms=PLAIN\n";
                let own = format!("{mechanisms}listener.name.secured.plain.sasl.jaas.config={login}\n");
                ("SASL_PLAINTEXT", own)
            }
            Self::Tls { key_store } => {
                let at = format!("ssl.keystore.location={}\nssl.keystore.type=PKCS12\n", key_store.display());
                ("SSL", format!("{at}ssl.keystore.password={STORE_PASSWORD}\nssl.key.password={STORE_PASSWORD}\n"))
            }
        };
        format!(
            "listeners=PLAINTEXT://{plain},SECURED://{secured},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{plain},SECURED://{secured}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURED:{protocol}\n{own}"
        )
    }
}
