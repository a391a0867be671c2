//! The users of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::config::AllowedUser;

/// Who may use the endpoint: root, ourselves, and who is named. A name that nobody has is warned of.
pub fn allowed(named: &BTreeSet<AllowedUser>) -> BTreeSet<u32> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut uids = BTreeSet::from([0, rustix::process::geteuid().as_raw()]);
    for user in named {
        match user {
            AllowedUser::Uid(uid) => {
                uids.insert(*uid);
            }
            AllowedUser::Name(name) => match uid_of(&passwd, name) {
                Some(uid) => {
                    uids.insert(uid);
                }
                None => tracing::warn!("endpoint.allow: there is no user '{name}' in /etc/passwd"),
            },
        }
    }
    uids
}

/// Our own home, as `/etc/passwd` says it.
pub fn home() -> Option<PathBuf> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    home_of(&passwd, rustix::process::geteuid().as_raw())
}

fn home_of(passwd: &str, uid: u32) -> Option<PathBuf> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid))?;
    user.get(5).map(PathBuf::from).filter(|home| home.is_absolute())
}

fn uid_of(passwd: &str, name: &str) -> Option<u32> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1001:100::/home/ann:/bin/sh\n";
        assert_eq!(uid_of(passwd, "ann"), Some(1001));
        assert_eq!(uid_of(passwd, "an"), None);
        assert_eq!(home_of(passwd, 1001), Some("/home/ann".into()));
        assert_eq!(home_of(passwd, 7), None);
    }
}
