//! The checksum of HDF5's metadata: Bob Jenkins' `lookup3`, in its form for bytes.
//!
//! Source: `burtleburtle.net/bob/c/lookup3.c` (public domain), function `hashlittle`.

/// Returns the checksum of some bytes.
pub(crate) fn lookup3(bytes: &[u8]) -> u32 {
    const TRIPLE: usize = 12;
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let begin = 0xdead_beef_u32.wrapping_add(length);
    let mut state = [begin; 3];
    let mut rest = bytes;
    while rest.len() > TRIPLE {
        let (part, next) = rest.split_at(TRIPLE);
        add(&mut state, part);
        mix(&mut state);
        rest = next;
    }
    if rest.is_empty() {
        return state[2];
    }
    let mut last = [0; TRIPLE];
    last[..rest.len()].copy_from_slice(rest);
    add(&mut state, &last);
    finish(state)
}

fn add(state: &mut [u32; 3], part: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(part.chunks_exact(4)) {
        let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        *word = word.wrapping_add(number);
    }
}

fn mix([a, b, c]: &mut [u32; 3]) {
    let round = |x: &mut u32, y: &mut u32, z: &mut u32, bits: u32| {
        *x = x.wrapping_sub(*z);
        *x ^= z.rotate_left(bits);
        *z = z.wrapping_add(*y);
    };
    round(a, b, c, 4);
    round(b, c, a, 6);
    round(c, a, b, 8);
    round(a, b, c, 16);
    round(b, c, a, 19);
    round(c, a, b, 4);
}

fn finish([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    let round = |x: &mut u32, y: u32, bits: u32| {
        *x ^= y;
        *x = x.wrapping_sub(y.rotate_left(bits));
    };
    round(&mut c, b, 14);
    round(&mut a, c, 11);
    round(&mut b, a, 25);
    round(&mut c, b, 16);
    round(&mut a, c, 4);
    round(&mut b, a, 14);
    round(&mut c, b, 24);
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_published_examples() {
        // From the comments of lookup3.c.
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
