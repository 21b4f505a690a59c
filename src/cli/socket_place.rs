//! Where the API's socket is unless told otherwise: root's switch serves root by one place, an
//! ordinary user's switch serves him by one of his own.

use std::path::{Path, PathBuf};

use crate::control::config::DEFAULT_SOCKET;
use crate::io::is_privileged;

/// Name of an ordinary user's socket in his runtime directory.
const USER_SOCKET: &str = "tapway.sock";

/// Where a command finds the switch: a user finds his own first.
pub(super) fn for_client() -> PathBuf {
    choose(is_privileged(), user_socket(), Path::exists)
}

/// Where an ordinary user's switch listens in place of root's socket; none: he has no runtime
/// directory.
pub(super) fn user_socket() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let named = named.filter(|dir| dir.is_absolute());
    let usual = || PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
    let dir = named.unwrap_or_else(usual);
    dir.is_dir().then(|| dir.join(USER_SOCKET))
}

/// The first of both that is there; if none is, the one that a switch would make.
fn choose(is_root: bool, user: Option<PathBuf>, exists: impl Fn(&Path) -> bool) -> PathBuf {
    let system = PathBuf::from(DEFAULT_SOCKET);
    let Some(user) = user else { return system };
    let (first, second) = if is_root { (system, user) } else { (user, system) };
    if !exists(&first) && exists(&second) { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finds_his_own_and_then_the_other() {
        let user = || Some(PathBuf::from("/run/user/7/tapway.sock"));
        let chosen = |is_root, there: &[&str]| {
            let path = choose(is_root, user(), |path| there.contains(&path.to_str().unwrap()));
            path.to_str().unwrap().to_owned()
        };
        let both = ["/run/user/7/tapway.sock", DEFAULT_SOCKET];
        assert_eq!(chosen(true, &both), DEFAULT_SOCKET);
        assert_eq!(chosen(false, &both), "/run/user/7/tapway.sock");
        assert_eq!(chosen(false, &[DEFAULT_SOCKET]), DEFAULT_SOCKET);
        assert_eq!(chosen(false, &[]), "/run/user/7/tapway.sock");
        assert_eq!(chosen(true, &[]), DEFAULT_SOCKET);
        // A command that runs as root of a user's own namespace.
        assert_eq!(chosen(true, &["/run/user/7/tapway.sock"]), "/run/user/7/tapway.sock");
        assert_eq!(choose(false, None, |_| false), PathBuf::from(DEFAULT_SOCKET));
    }
}
