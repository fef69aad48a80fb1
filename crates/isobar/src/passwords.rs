//! Which users and passwords stand in the files that a forward proxy names?

use std::collections::HashSet;
use std::io;

use isobar_config::Unusable;
use isobar_engine::named_file::read;
use isobar_plan::{ProxyUser, Secret};

use crate::failure::io_reason;

/// Bytes of a file with users at most.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Bytes of a password, as SOCKS 5 can say it.
const MAX_PASSWORD: usize = 255;

/// The largest cost of a hash: each step doubles the time that a password takes, and at this one it takes seconds.
const MAX_COST: u32 = 16;

/// The users in a file, as `htpasswd -B` writes it.
pub(crate) fn users(file: &str) -> Result<Vec<ProxyUser>, Unusable> {
    let unusable = |why: &str, help: Option<String>| Unusable {
        message: format!("failed to read the users in {file}: {why}"),
        help,
    };
    let make = || Some(format!("make it with `htpasswd -B -c {file} NAME`"));
    let bytes = read(file, MAX_FILE).map_err(|error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        unusable(&io_reason(&error), make().filter(|_| is_missing))
    })?;
    let text = str::from_utf8(&bytes).map_err(|_| unusable("it is not UTF-8", None))?;
    let mut users = Vec::new();
    let mut names = HashSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: String| unusable(&format!("line {}: {why}", index + 1), None);
        let user = user(line).map_err(wrong)?;
        if !names.insert(user.name.clone()) {
            return Err(wrong(format!("`{}` is there already", user.name)));
        }
        users.push(user);
    }
    if users.is_empty() {
        return Err(unusable("there is nobody in it", make()));
    }
    Ok(users)
}

/// The user in a line. What is wrong is told without showing a hash.
fn user(line: &str) -> Result<ProxyUser, String> {
    let (name, hash) = line.split_once(':').ok_or("expected `name:hash`")?;
    if name.is_empty() || name.len() > MAX_PASSWORD {
        return Err(format!("a user name has 1 to {MAX_PASSWORD} bytes"));
    }
    let cost = match hash.split('$').collect::<Vec<_>>()[..] {
        ["", "2a" | "2b" | "2y", cost, rest] if rest.len() == 53 => cost.parse::<u32>().ok(),
        _ => None,
    };
    match cost {
        Some(4..=MAX_COST) => Ok(ProxyUser {
            name: name.into(),
            hash: Secret(hash.as_bytes().into()),
        }),
        Some(cost) => Err(format!(
            "the hash of `{name}` has the cost {cost}, and 4 to {MAX_COST} are taken"
        )),
        None => Err(format!(
            "the hash of `{name}` is not made by bcrypt; `htpasswd -B` makes such"
        )),
    }
}

/// The password in a file, without the line end behind it.
pub(crate) fn password(file: &str) -> Result<Secret, Unusable> {
    let unusable = |why: &str| Unusable {
        message: format!("failed to read the password in {file}: {why}"),
        help: None,
    };
    let bytes = read(file, MAX_FILE).map_err(|error| unusable(&io_reason(&error)))?;
    let password = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    match password.len() {
        1..=MAX_PASSWORD => Ok(Secret(password.into())),
        0 => Err(unusable("it is empty")),
        _ => Err(unusable(&format!("a password has {MAX_PASSWORD} bytes at most"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    #[test]
    fn lines() {
        let check = |line: &str, expected: &str| {
            let found = user(line).map_or_else(|why| why, |user| user.name.to_string());
            assert_eq!(found, expected, "{line}");
        };
        check(&format!("alice:{HASH}"), "alice");
        check(
            &format!("alice:{}", HASH.replace("$05$", "$17$")),
            "the hash of `alice` has the cost 17, and 4 to 16 are taken",
        );
        check(
            &format!("alice:{}", HASH.replace("$05$", "$03$")),
            "the hash of `alice` has the cost 3, and 4 to 16 are taken",
        );
        let other = "the hash of `alice` is not made by bcrypt; `htpasswd -B` makes such";
        check("alice:secret", other);
        check("alice:$apr1$AbC$abcdefghijklmnopqrstuv", other);
        check("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", other);
        check(&format!("alice:{HASH}x"), other);
        check("alice:", other);
        check("alice", "expected `name:hash`");
        check(&format!(":{HASH}"), "a user name has 1 to 255 bytes");
    }

    #[test]
    fn files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let file = path.to_str().unwrap();
        let check = |text: &str, expected: &str| {
            std::fs::write(&path, text).unwrap();
            let found = users(file).map_or_else(
                |unusable| unusable.message.replace(file, "FILE"),
                |users| users.iter().map(|user| &*user.name).collect::<Vec<_>>().join(" "),
            );
            assert_eq!(found, expected, "{text}");
        };
        check(&format!("# people\n\nbob:{HASH}\nalice:{HASH}\r\n"), "bob alice");
        check("", "failed to read the users in FILE: there is nobody in it");
        check(
            &format!("bob:{HASH}\nbob:{HASH}\n"),
            "failed to read the users in FILE: line 2: `bob` is there already",
        );
        check("bob", "failed to read the users in FILE: line 1: expected `name:hash`");
        let secret = |text: &str| {
            std::fs::write(&path, text).unwrap();
            password(file).map(|secret| secret.0.to_vec()).ok()
        };
        assert_eq!(secret("a b \r\n"), Some(b"a b ".to_vec()));
        assert_eq!(secret("a"), Some(b"a".to_vec()));
        assert_eq!(secret("\n"), None);
        assert_eq!(secret(&"a".repeat(256)), None);
    }
}
