//! The users of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::config::{AllowedGroup, AllowedUser};

/// Who may do something: root, ourselves, and who is named by `key`. A name that nobody has is warned of.
pub fn allowed(named: &BTreeSet<AllowedUser>, key: &str) -> BTreeSet<u32> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut uids = BTreeSet::from([0, own()]);
    for user in named {
        match user {
            AllowedUser::Uid(uid) => {
                uids.insert(*uid);
            }
            AllowedUser::Name(name) => match uid_of(&passwd, name) {
                Some(uid) => {
                    uids.insert(uid);
                }
                None => tracing::warn!("{key}: there is no user '{name}' in /etc/passwd"),
            },
        }
    }
    uids
}

/// Whose process this is.
pub fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Our own home, as `/etc/passwd` says it.
pub fn home() -> Option<PathBuf> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    home_of(&passwd, own())
}

fn home_of(passwd: &str, uid: u32) -> Option<PathBuf> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid))?;
    user.get(5).map(PathBuf::from).filter(|home| home.is_absolute())
}

/// Whether somebody may drain, cancel and stop: root, ourselves, and who is in the group.
pub fn may_control(uid: u32, gid: u32, group: Option<&AllowedGroup>) -> bool {
    let ours = [0, own()].contains(&uid);
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    ours || group.is_some_and(|group| is_in(uid, gid, group, &read("/etc/passwd"), &read("/etc/group")))
}

/// By the primary group, or as a member by name.
fn is_in(uid: u32, gid: u32, group: &AllowedGroup, passwd: &str, groups: &str) -> bool {
    let own = name_in(passwd, uid);
    if *group == AllowedGroup::Gid(gid) {
        return true;
    }
    groups.lines().map(|line| line.split(':').collect::<Vec<_>>()).any(|fields| {
        let [name, _, number, members] = fields[..] else { return false };
        let meant = match group {
            AllowedGroup::Gid(wanted) => number.parse() == Ok(*wanted),
            AllowedGroup::Name(wanted) => name == wanted,
        };
        let member = || own.as_deref().is_some_and(|own| members.split(',').any(|member| member == own));
        meant && (number.parse() == Ok(gid) || member())
    })
}

/// A user, as others know them.
pub fn name_of(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&passwd, uid).unwrap_or_else(|| format!("user {uid}"))
}

/// This process, as others see it.
pub fn own_process() -> u32 {
    std::process::id()
}

/// Whether there is such a process, whoever's it is.
pub fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    users
        .find(|fields| fields.get(2).and_then(|n| n.parse().ok()) == Some(uid))
        .map(|fields| fields[0].to_owned())
}

fn uid_of(passwd: &str, name: &str) -> Option<u32> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_members_and_those_whose_first_group_it_is() {
        let passwd = "ann:x:1001:100::/home/ann:/bin/sh\nbob:x:1002:50::/:/bin/sh\n";
        let groups = "ops:x:50:ann,eve\nusers:x:100:\n";
        let check = |uid, gid, group, expected| assert_eq!(is_in(uid, gid, &group, passwd, groups), expected);
        let ops = || AllowedGroup::Name("ops".to_owned());
        check(1001, 100, ops(), true);
        check(1002, 50, ops(), true);
        check(1002, 50, AllowedGroup::Gid(50), true);
        check(1003, 77, AllowedGroup::Gid(77), true);
        check(1002, 100, ops(), false);
        check(1003, 100, ops(), false);
        check(1001, 100, AllowedGroup::Name("op".to_owned()), false);
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1001:100::/home/ann:/bin/sh\n";
        assert_eq!(uid_of(passwd, "ann"), Some(1001));
        assert_eq!(uid_of(passwd, "an"), None);
        assert_eq!(home_of(passwd, 1001), Some("/home/ann".into()));
        assert_eq!(home_of(passwd, 7), None);
    }
}
