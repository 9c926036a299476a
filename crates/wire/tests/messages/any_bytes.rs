//! No bytes make a decoder panic.

use ailurus_wire::decode_anything;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use super::samples;

/// Any golden sample, as a seed from which damage starts.
fn sample() -> impl Strategy<Value = &'static [u8]> {
    select(samples::ALL).prop_map(|(_, bytes)| bytes)
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..512)) {
        decode_anything(&bytes);
    }

    #[test]
    fn any_text_is_read_without_panic(text in ".{0,200}") {
        decode_anything(text.as_bytes());
    }

    #[test]
    fn damaged_samples_are_read_without_panic(
        sample in sample(),
        cut in any::<Index>(),
        place in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let mut damaged = sample.to_vec();
        let place = place.index(damaged.len());
        damaged[place] = byte;
        decode_anything(&damaged);
        damaged.truncate(cut.index(damaged.len()));
        decode_anything(&damaged);
    }

    #[test]
    fn samples_with_another_value_are_read_without_panic(
        sample in sample(),
        place in any::<Index>(),
        value in select(vec![
            "null", "-1", "1e308", "\"NULL\"", "\"\"", "\",,,\"", "[]", "{}", "[[]]", "true",
            "18446744073709551616", "\"9999-99-99 99:99:99\"", "\"datetime/\"",
        ]),
    ) {
        let text = String::from_utf8_lossy(sample).into_owned();
        let colons: Vec<usize> = text.match_indices(": ").map(|(at, _)| at + 2).collect();
        if !colons.is_empty() {
            let start = *place.get(&colons);
            let rest = &text[start..];
            let end = rest.find([',', '}', '\n']).unwrap_or(rest.len());
            decode_anything(format!("{}{value}{}", &text[..start], &rest[end..]).as_bytes());
        }
    }
}
