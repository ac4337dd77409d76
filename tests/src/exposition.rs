//! Reading Prometheus' text exposition.

/// The value of the first series of a name, or of the one that `name` is in full (`up{job="x"}`).
pub fn value(exposition: &str, name: &str) -> Option<f64> {
    exposition.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', '{']) {
            return None;
        }
        rest.rsplit(' ').next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole_and_a_series_is_exact() {
        let text = "# TYPE a gauge\na_total 1\na{x=\"1\"} 2\na{x=\"2\"} 3\nb inf\n";
        assert_eq!(value(text, "a"), Some(2.0));
        assert_eq!(value(text, "a{x=\"2\"}"), Some(3.0));
        assert_eq!(value(text, "b"), Some(f64::INFINITY));
        assert_eq!(value(text, "a_tot"), None);
    }
}
