//! A recorded profile by its name, and which of them is missed the least.

use super::policy::Reason;
use crate::verdict::Verdict;

/// How an id ends that names the last heap of a process.
const AT_END: &str = "end";
const SUFFIX: &str = ".pb.gz";

/// A profile on the shelf.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// `<token>-<number>`, or `<token>-end` for the last of a process.
    pub(crate) id: String,
    /// Whose it is, see [`Run::token`](super::run::Run::token).
    pub(crate) token: String,
    pub(crate) taken_unix_millis: u64,
    pub(crate) reason: Reason,
    pub(crate) verdict: Verdict,
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
}

impl Entry {
    /// The one of a number; `bytes` and `crc` are not known yet.
    pub(super) fn new(token: &str, number: u64, taken_unix_millis: u64, reason: Reason, verdict: Verdict) -> Entry {
        let (id, token) = (format!("{token}-{number}"), token.to_owned());
        Entry { id, token, taken_unix_millis, reason, verdict, bytes: 0, crc: 0 }
    }

    /// The last heap of a process.
    pub(super) fn at_end(token: &str, taken_unix_millis: u64, reason: Reason, verdict: Verdict) -> Entry {
        Entry { id: end_id(token), ..Entry::new(token, 0, taken_unix_millis, reason, verdict) }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.id.ends_with(AT_END)
    }

    pub(super) fn file_name(&self) -> String {
        let (reason, verdict) = (self.reason.name(), self.verdict.name());
        format!("{}.{}.{reason}.{verdict}.{:08x}{SUFFIX}", self.id, self.taken_unix_millis, self.crc)
    }

    /// `None` for a name that was not made by [`Entry::file_name`].
    pub(super) fn parse(name: &str) -> Option<Entry> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('.');
        let (id, taken, reason, verdict, crc) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (token, number) = id.split_once('-')?;
        let entry = Entry {
            id: id.to_owned(),
            token: token.to_owned(),
            taken_unix_millis: taken.parse().ok()?,
            reason: Reason::ALL.into_iter().find(|known| known.name() == reason)?,
            verdict: Verdict::ALL.into_iter().find(|known| known.name() == verdict)?,
            bytes: 0,
            crc: u32::from_str_radix(crc, 16).ok()?,
        };
        let is_ours = !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_hexdigit())
            && (number == AT_END || number.parse::<u64>().is_ok())
            && parts.next().is_none();
        (is_ours && entry.file_name() == name).then_some(entry)
    }
}

/// The id of the last heap of a process.
pub(super) fn end_id(token: &str) -> String {
    format!("{token}-{AT_END}")
}

/// The place of the profile to go first: of processes before the last one, then by reason, then the oldest. Kept as long
/// as anything else can go: the newest of this process and of the one before, and the first of this one.
pub(super) fn least_valuable(entries: &[Entry], own: &str) -> Option<usize> {
    let is_own = |entry: &&Entry| entry.token == own;
    let newest_own = entries.iter().rfind(is_own);
    let first_own = entries.iter().find(is_own);
    let newest_before = entries.iter().rfind(|entry| entry.token != own);
    let is_kept = |entry: &Entry| {
        [newest_own, first_own, newest_before].into_iter().flatten().any(|kept| std::ptr::eq(kept, entry))
    };
    let is_recent =
        |entry: &Entry| entry.token == own || newest_before.is_some_and(|before| before.token == entry.token);
    let value = |entry: &Entry| (is_kept(entry), is_recent(entry), entry.reason, entry.taken_unix_millis);
    let places = entries.iter().enumerate();
    places.min_by(|(_, one), (_, other)| value(one).cmp(&value(other))).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(token: &str, number: u64, taken: u64, reason: Reason) -> Entry {
        Entry::new(token, number, taken, reason, Verdict::Flat)
    }

    #[test]
    fn a_name_says_everything() {
        let made = Entry { crc: 0xc0ffee, ..entry("18ab", 7, 1_700_000_000_123, Reason::Headroom) };
        assert_eq!(made.file_name(), "18ab-7.1700000000123.headroom.flat.00c0ffee.pb.gz");
        assert_eq!(Entry::parse(&made.file_name()), Some(made));
        let end = Entry::at_end("18ab", 5, Reason::Periodic, Verdict::NearLimit);
        assert!(end.is_at_end() && Entry::parse(&end.file_name()) == Some(end));
        for name in [
            "",
            "18ab-7.1.headroom.flat.00c0ffee.pb",
            "18ab-7.1.whim.flat.00c0ffee.pb.gz",
            "18ab-7.1.headroom.fine.00c0ffee.pb.gz",
            "18ab-7.1.headroom.flat.c0ffee.pb.gz",
            "18ab-7.01.headroom.flat.00c0ffee.pb.gz",
            "18ab-7.1.headroom.flat.00c0ffee.x.pb.gz",
            "18ab.1.headroom.flat.00c0ffee.pb.gz",
            "../18ab-7.1.headroom.flat.00c0ffee.pb.gz",
            "18ab-../7.1.headroom.flat.00c0ffee.pb.gz",
        ] {
            assert_eq!(Entry::parse(name), None, "{name}");
        }
    }

    #[test]
    fn the_least_valuable_goes_first() {
        let mut entries = vec![
            entry("a", 1, 1, Reason::Verdict),
            entry("b", 1, 10, Reason::Headroom),
            entry("b", 2, 11, Reason::Periodic),
            entry("c", 1, 20, Reason::Periodic),
            entry("c", 2, 21, Reason::Verdict),
            entry("c", 3, 22, Reason::Periodic),
            entry("c", 4, 23, Reason::Request),
            entry("c", 5, 24, Reason::Periodic),
        ];
        let mut order = Vec::new();
        while let Some(place) = least_valuable(&entries, "c") {
            order.push(entries.remove(place).id);
        }
        // b-2 is the last word of the process before, until only such are left; then the next older one is.
        assert_eq!(order, ["a-1", "c-3", "c-4", "b-1", "c-2", "b-2", "c-1", "c-5"]);
    }
}
