//! SHA-256 as the contract prints it.

use sha2::{Digest, Sha256};

/// Lower-case hexadecimal.
pub fn sha256_hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
