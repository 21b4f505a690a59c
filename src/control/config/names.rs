//! What names may look like.

/// Longest name of an interface, in bytes (IFNAMSIZ without the terminating zero).
const MAX_INTERFACE: usize = 15;
/// Longest name of a namespace: it is a file's name.
const MAX_FILE_NAME: usize = 255;
/// Longest name of a host, with its dots.
const MAX_HOST_NAME: usize = 253;
/// Longest name of a network or port.
const MAX_NAME: usize = 63;

/// Why a name of a network or port is not one.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("use 1 to {MAX_NAME} characters"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(is_plain) {
        return Err("use letters, digits, - _ . and start with a letter or digit".to_owned());
    }
    Ok(())
}

/// Why a host cannot have a further name: labels of up to 63 characters (RFC 1035 2.3.1), 253 in
/// all.
pub(super) fn check_host_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_HOST_NAME {
        return Err(format!("use up to {MAX_HOST_NAME} characters"));
    }
    name.split('.').try_for_each(check_name)
}

/// Why an interface cannot have a name (the kernel's `dev_valid_name`).
pub(super) fn check_interface(name: &str) -> Result<(), String> {
    let is_refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    if name.is_empty() || name.len() > MAX_INTERFACE {
        return Err(format!("use 1 to {MAX_INTERFACE} bytes"));
    }
    if matches!(name, "." | "..") || name.contains(is_refused) {
        return Err("leave out spaces and the characters / : %".to_owned());
    }
    Ok(())
}

/// Why a namespace cannot have a name.
pub(super) fn check_netns(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_FILE_NAME {
        return Err(format!("use 1 to {MAX_FILE_NAME} bytes"));
    }
    if matches!(name, "." | "..") || name.contains(|c: char| c == '/' || c.is_control()) {
        return Err("give its name under /run/netns, not a path".to_owned());
    }
    Ok(())
}
