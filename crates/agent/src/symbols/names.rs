//! Function names for people: demangled, without hashes, one form for the two manglings that stand in one stack.

use std::borrow::Cow;

use addr2line::gimli::{self, DwLang};

/// A longer name is cut: a future's type can be written in thousands of characters.
pub(crate) const NAME_BYTES_MAX: usize = 512;

/// A name as people read it, from a symbol or from DWARF. `language` is what DWARF says, if anything.
///
/// - Rust: the full path without the hash; closures, async functions and blocks are `{{closure}}`; type arguments in
///   the path are dropped, an inherent method is `path::Type::method`, a trait's is `<Type as Trait>::method`.
/// - C++: demangled. C: without the compiler's suffix for a copy (`.part.0`, `.constprop.0`).
pub(crate) fn readable(raw: &str, language: Option<DwLang>) -> String {
    let demangled = match addr2line::demangle_auto(Cow::Borrowed(raw), language) {
        // A unit's language is its own, not that of what was linked into it (link-time optimisation, assembly).
        name if *name == *raw && language.is_some() => addr2line::demangle_auto(name, None),
        name => name,
    };
    let mut name = if is_mangled_rust(raw) || language == Some(gimli::DW_LANG_Rust) {
        tidy(&demangled)
    } else if *demangled == *raw {
        without_copy_suffix(raw).to_owned()
    } else {
        demangled.into_owned()
    };
    if name.len() > NAME_BYTES_MAX {
        let end = (0..=NAME_BYTES_MAX - '…'.len_utf8()).rev().find(|&end| name.is_char_boundary(end));
        name.truncate(end.unwrap_or(0));
        name.push('…');
    }
    name
}

/// `rd_kafka_new.part.0` is a piece of `rd_kafka_new`.
fn without_copy_suffix(name: &str) -> &str {
    const COPIES: [&str; 5] = [".part.", ".constprop.", ".isra.", ".cold", ".lto_priv."];
    COPIES.into_iter().filter_map(|suffix| name.find(suffix)).min().map_or(name, |end| &name[..end])
}

fn is_mangled_rust(raw: &str) -> bool {
    raw.starts_with("_R") || (raw.starts_with("_ZN") && raw.contains("17h"))
}

fn tidy(demangled: &str) -> String {
    let mut tidied = String::with_capacity(demangled.len());
    let mut rest = demangled;
    if rest.starts_with('<')
        && let Some(end) = closing(rest)
    {
        if as_position(&rest[1..end]).is_some() {
            // `<Type as Trait>` keeps its type arguments.
            push_with_closures(&mut tidied, &rest[..=end]);
        } else {
            // `<path::Type<T>>::method` of an inherent impl, as the newer mangling writes it.
            tidied.push_str(without_arguments(&rest[1..end]));
        }
        rest = &rest[end + 1..];
    }
    while let Some(character) = rest.chars().next() {
        if let Some(after) = numbered_closure(rest) {
            tidied.push_str("{{closure}}");
            rest = after;
        } else if character == '<'
            && let Some(end) = closing(rest)
        {
            if tidied.ends_with("::") {
                tidied.truncate(tidied.len() - 2);
            }
            rest = &rest[end + 1..];
        } else {
            tidied.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    tidied
}

fn push_with_closures(tidied: &mut String, mut rest: &str) {
    while let Some(at) = rest.find('{') {
        let (before, brace) = rest.split_at(at);
        tidied.push_str(before);
        if let Some(after) = numbered_closure(brace) {
            tidied.push_str("{{closure}}");
            rest = after;
        } else {
            tidied.push('{');
            rest = &brace[1..];
        }
    }
    tidied.push_str(rest);
}

/// What follows `{closure#1}`, `{async_fn#0}`, `{async_block#2}` and their like.
fn numbered_closure(text: &str) -> Option<&str> {
    let (inner, after) = text.strip_prefix('{')?.split_once('}')?;
    let (kind, number) = inner.split_once('#')?;
    let is_body = ["closure", "async_", "coroutine", "gen_"].into_iter().any(|prefix| kind.starts_with(prefix));
    (is_body && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(after)
}

/// Where the bracket that `text` starts with is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut previous = b' ';
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if previous == b'-' => {}
            b'>' if depth == 1 => return Some(at),
            b'>' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        previous = byte;
    }
    None
}

/// Where ` as ` stands outside all brackets: `Type as Trait`.
pub(super) fn as_position(text: &str) -> Option<usize> {
    let mut depth = 0_i32;
    let mut previous = b' ';
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if previous != b'-' => depth -= 1,
            b' ' if depth == 0 && text[at..].starts_with(" as ") => return Some(at),
            _ => {}
        }
        previous = byte;
    }
    None
}

/// `path::Vec<u8>` is `path::Vec`.
fn without_arguments(path: &str) -> &str {
    if path.ends_with('>') && !path.starts_with(['<', '&', '(', '[', '*']) {
        path.split_once('<').map_or(path, |(path, _)| path)
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable() {
        for (raw, expected) in [
            // Legacy mangling.
            ("_ZN4shop6basket3add17h0123456789abcdefE", "shop::basket::add"),
            ("_ZN4shop6basket3add28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", "shop::basket::add::{{closure}}"),
            (
                "_ZN50_$LT$shop..Dedup$u20$as$u20$shop..stage..Stage$GT$5apply17h0123456789abcdefE",
                "<shop::Dedup as shop::stage::Stage>::apply",
            ),
            // v0 mangling.
            ("_RNvCs9i1j3kQdNXu_7___rustc12___rust_alloc", "__rustc::__rust_alloc"),
            ("_RNCNvNtCs1234_4shop6basket3add0", "shop::basket::add::{{closure}}"),
            ("_RINvNtC3std3mem8align_ofjE", "std::mem::align_of"),
            ("_RNvMNtCs1234_4shop6basketNtB2_6Basket3add", "shop::basket::Basket::add"),
            ("_RNvXCs1234_4shopNtB2_5DedupNtB2_5Stage5apply", "<shop::Dedup as shop::Stage>::apply"),
            // C and C++.
            ("rd_kafka_broker_add", "rd_kafka_broker_add"),
            ("rd_kafka_broker_add.part.0", "rd_kafka_broker_add"),
            ("prof_backtrace_impl.constprop.0", "prof_backtrace_impl"),
            ("_Znwm", "operator new(unsigned long)"),
            ("_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<int, std::allocator<int> >::push_back(int const&)"),
            ("main", "main"),
            ("", ""),
        ] {
            assert_eq!(readable(raw, None), expected, "{raw}");
        }
    }

    #[test]
    fn demangled_paths_take_one_form() {
        for (demangled, expected) in [
            ("shop::run::{async_fn#0}::{closure#12}", "shop::run::{{closure}}::{{closure}}"),
            ("<shop::Cache<alloc::string::String>>::put::<u8>", "shop::Cache::put"),
            ("<shop::Cache<T> as shop::Store<T>>::put::<u8>", "<shop::Cache<T> as shop::Store<T>>::put"),
            ("shop::apply::<fn(u8) -> u8, <A as B>::C>", "shop::apply"),
            (
                "<shop::run::{closure#0} as core::ops::FnOnce<()>>::call_once",
                "<shop::run::{{closure}} as core::ops::FnOnce<()>>::call_once",
            ),
            ("<[u8]>::concat", "[u8]::concat"),
            ("core::option::Option<T>::map_or_else", "core::option::Option::map_or_else"),
            ("shop::{impl#3}::put", "shop::{impl#3}::put"),
            ("broken::<", "broken::<"),
        ] {
            assert_eq!(tidy(demangled), expected);
        }
    }

    #[test]
    fn a_monstrous_name_is_cut_at_a_character() {
        let name = readable(&"ü".repeat(2000), None);
        assert!(name.len() <= NAME_BYTES_MAX && name.ends_with("ü…"));
    }
}
