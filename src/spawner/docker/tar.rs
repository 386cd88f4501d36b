//! The little of the tar format (POSIX ustar) that goes between hubgate and the engine. Pure.

/// An archive that is being written. It may hold secrets, and is never printed.
#[derive(Default)]
pub(super) struct Archive(Vec<u8>);

impl Archive {
    /// Adds a folder that only its owner may enter; `None` when the name is too long for the format.
    pub(super) fn folder(&mut self, name: &str, owner: (u32, u32)) -> Option<()> {
        let header = header(&format!("{name}/"), 0o700, owner, 0, b'5')?;
        self.0.extend(header);
        Some(())
    }

    /// Adds a file that only its owner may read; `None` when the name is too long for the format.
    pub(super) fn file(&mut self, name: &str, owner: (u32, u32), content: &[u8]) -> Option<()> {
        let header = header(name, 0o400, owner, content.len(), b'0')?;
        self.0.extend(header);
        self.0.extend(content);
        let rest = self.0.len() % BLOCK;
        if rest > 0 {
            self.0.extend(std::iter::repeat_n(0, BLOCK - rest));
        }
        Some(())
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 2 * BLOCK]);
        self.0
    }
}

/// The content of the first regular file of an archive.
pub(super) fn first_file(archive: &[u8]) -> Option<&[u8]> {
    let mut rest = archive;
    loop {
        let (header, after) = rest.split_at_checked(BLOCK)?;
        let size = octal(header.get(124..136)?)?;
        match header.get(156)? {
            b'0' | 0 if header.first() != Some(&0) => return after.get(..size),
            0 => return None,
            // What describes the next entry, and folders and links.
            _ => rest = after.get(size.checked_next_multiple_of(BLOCK)?..)?,
        }
    }
}

/// Everything in an archive comes in blocks.
const BLOCK: usize = 512;

fn header(name: &str, mode: u32, (user, group): (u32, u32), size: usize, kind: u8) -> Option<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let mut set = |at: usize, value: &[u8]| {
        header.get_mut(at..at + value.len()).map(|field| field.copy_from_slice(value))
    };
    if name.is_empty() || name.len() > LONGEST_NAME {
        return None;
    }
    set(0, name.as_bytes())?;
    set(100, format!("{mode:07o}").as_bytes())?;
    set(108, &number(user))?;
    set(116, &number(group))?;
    set(124, format!("{size:011o}").as_bytes())?;
    set(136, format!("{:011o}", 0).as_bytes())?;
    // The sum counts its own field as spaces.
    set(148, b"        ")?;
    set(156, &[kind])?;
    set(257, b"ustar\x0000")?;
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header.get_mut(148..156)?.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(header)
}

/// The format splits longer ones in two, with rules of its own.
pub(super) const LONGEST_NAME: usize = 100;

/// Seven octal digits; a number above that in binary with the first bit set, as GNU writes it and everybody reads it.
fn number(value: u32) -> [u8; 8] {
    let mut field = [0; 8];
    if value < 1 << 21 {
        for (digit, byte) in format!("{value:07o}").bytes().zip(&mut field) {
            *byte = digit;
        }
    } else {
        let [a, b, c, d] = value.to_be_bytes();
        field = [0x80, 0, 0, 0, a, b, c, d];
    }
    field
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(|c: char| c == ' ' || c == '\0');
    if digits.is_empty() { Some(0) } else { usize::from_str_radix(digits, 8).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn archive() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.folder("hubgate", (1000, 100)).unwrap();
        archive.file("hubgate/access_token", (3_000_000_000, 2_097_151), b"t0k").unwrap();
        archive.finish()
    }

    #[test]
    fn the_archive_is_one_that_tar_reads() {
        let mut tar = Command::new("tar")
            .args(["--list", "--verbose", "--numeric-owner"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive()).unwrap();
        let listed = tar.wait_with_output().unwrap();
        assert!(listed.status.success());
        let listed = String::from_utf8(listed.stdout).unwrap();
        let words: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["drwx------", "1000/100", "0", "1970-01-01", "00:00", "hubgate/"]);
        let file = ["-r--------", "3000000000/2097151", "3", "1970-01-01", "00:00", "hubgate/access_token"];
        assert_eq!(words[1], file);
    }

    #[test]
    fn the_first_file_is_found_behind_what_is_none() {
        assert_eq!(first_file(&archive()), Some(&b"t0k"[..]));
        let mut described = header("x", 0o600, (0, 0), 700, b'x').unwrap().to_vec();
        described.extend([b'9'; 1024]);
        described.extend(archive().iter());
        assert_eq!(first_file(&described), Some(&b"t0k"[..]));
    }

    #[test]
    fn what_is_no_archive_has_no_file() {
        let whole = archive();
        for length in 0..1027 {
            assert_eq!(first_file(&whole[..length]), None, "{length}");
        }
        let mut huge = whole.clone();
        huge[512 + 124..512 + 135].copy_from_slice(b"77777777777");
        assert_eq!(first_file(&huge), None);
        assert_eq!(first_file(&[0; 4096]), None);
        assert_eq!(first_file(&[0xff; 4096]), None);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert_eq!(Archive::default().file(&"n".repeat(101), (0, 0), b""), None);
        assert_eq!(Archive::default().folder(&"n".repeat(100), (0, 0)), None);
        assert_eq!(Archive::default().file("", (0, 0), b""), None);
    }
}
