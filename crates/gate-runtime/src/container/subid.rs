//! Ranges of ids that an ordinary user may hand out: `/etc/subuid` and `/etc/subgid`.

use crate::error::ExecutorError;
use std::fs;
use std::path::Path;

/// Finds the first two ids which a file gives to a user.
pub(super) fn first_two(file: &Path, uid: u32) -> Result<[u32; 2], ExecutorError> {
    let text = fs::read_to_string(file).map_err(|error| {
        ExecutorError::Credentials(format!("read {}: {error} (Debian package passwd)", file.display()))
    })?;
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user_name(&passwd, uid);
    choose(&text, user, uid).ok_or_else(|| {
        let user = user.map_or_else(|| format!("user {uid}"), |name| format!("user {name} ({uid})"));
        ExecutorError::Credentials(format!("{} gives {user} fewer than two ids", file.display()))
    })
}

/// Name of a user, if it is in the text of a password file.
fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then_some(name)
    })
}

fn choose(text: &str, user: Option<&str>, uid: u32) -> Option<[u32; 2]> {
    let mut ids = text
        .lines()
        .filter_map(|line| {
            let (owner, range) = line.split_once(':')?;
            let (first, count) = range.split_once(':')?;
            let mine = Some(owner) == user || owner.parse() == Ok(uid);
            let (first, count) = (first.trim().parse::<u32>().ok()?, count.trim().parse::<u32>().ok()?);
            // Two of each are enough, and counts can be enormous.
            mine.then(|| (0..count.min(2)).filter_map(move |n| first.checked_add(n)))
        })
        .flatten();
    Some([ids.next()?, ids.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\nodd\n";

    #[test]
    fn users_have_names() {
        assert_eq!(user_name(PASSWD, 1000), Some("ann"));
        assert_eq!(user_name(PASSWD, 1001), None);
    }

    #[test]
    fn ranges_belong_to_names_or_numbers() {
        let text = "bob:100:9\nann:100000:65536\n1001:5:1\n1001:9:1\nnonsense\nann:x:y\n";
        assert_eq!(choose(text, Some("ann"), 1000), Some([100_000, 100_001]));
        assert_eq!(choose(text, None, 1001), Some([5, 9]));
        assert_eq!(choose(text, None, 1000), None);
        assert_eq!(choose("ann:4294967295:4294967295\n", Some("ann"), 1000), None);
    }
}
