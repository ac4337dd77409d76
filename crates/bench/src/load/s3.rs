//! Requests to an S3-compatible server, signed (AWS Signature Version 4) without a hash of their body.

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Who signs; the secret is the token of the other servers.
pub(crate) const ACCESS_KEY: &str = "heapline-bench";
pub(crate) const REGION: &str = "us-east-1";
/// Bytes of a block of SHA-256, and of its result.
const BLOCK_BYTES: usize = 64;
const HASH_BYTES: usize = 32;
const DAY_SECONDS: u64 = 86_400;

/// Signs for the day and second at which it was made; servers bear a quarter of an hour.
pub(crate) struct Signer {
    key: [u8; HASH_BYTES],
    host: String,
    time: String,
}

impl Signer {
    pub(crate) fn new(secret: &str, host: String) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(since_1970.as_secs(), secret, host)
    }

    fn at(unix_seconds: u64, secret: &str, host: String) -> Self {
        let (year, month, day) = date(unix_seconds / DAY_SECONDS);
        let second = unix_seconds % DAY_SECONDS;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let time = format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
        let start = format!("AWS4{secret}").into_bytes();
        let key = [&time[..8], REGION, "s3", "aws4_request"]
            .iter()
            .fold(start, |key, text| hmac(&key, text.as_bytes()).to_vec());
        Self { key: key.try_into().unwrap_or_default(), host, time }
    }

    /// The fields of a PUT, each with its line's end, but for the signature.
    pub(crate) fn fields(&self, signature: &str) -> String {
        let scope = self.scope();
        format!(
            "x-amz-date: {}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}\r\n",
            self.time
        )
    }

    /// Of a PUT to this path, in hexadecimal digits.
    pub(crate) fn sign(&self, path: &str) -> String {
        let request = format!(
            "PUT\n{path}\n\nhost:{}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{}\n\n\
             host;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD",
            self.host, self.time
        );
        let hash = hex(&Sha256::digest(request));
        hex(&hmac(&self.key, format!("AWS4-HMAC-SHA256\n{}\n{}\n{hash}", self.time, self.scope()).as_bytes()))
    }

    fn scope(&self) -> String {
        format!("{}/{REGION}/s3/aws4_request", &self.time[..8])
    }
}

/// RFC 2104, with a key that is no longer than a block.
fn hmac(key: &[u8], text: &[u8]) -> [u8; HASH_BYTES] {
    let padded = |with: u8| {
        let mut block = [with; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Year, month and day, so many days after the first of 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_text_have_the_code_of_the_standard() {
        // RFC 4231, test case 2.
        let code = hex(&hmac(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(code, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_moment_has_its_date() {
        let time = |seconds| Signer::at(seconds, "secret", String::new()).time;
        assert_eq!(time(0), "19700101T000000Z");
        assert_eq!(time(951_782_399), "20000228T235959Z");
        assert_eq!(time(951_782_400), "20000229T000000Z");
        assert_eq!(time(1_767_225_599), "20251231T235959Z");
    }
}
