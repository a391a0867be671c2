//! What ssh's configuration says of a host: the output of `ssh -G`, read.

/// More than this of anything but a list of ciphers is cut off.
const LONGEST: usize = 2000;

/// What ssh's configuration says of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whom to log in as.
    pub user: String,
    /// The name or address that is connected to.
    pub hostname: String,
    /// Its port.
    pub port: u16,
    /// The name under which its key is known, where that is another.
    pub alias: Option<String>,
    /// Private keys to try, in order.
    pub keys: Vec<String>,
    /// Where keys of hosts are known, the user's own files.
    pub known_hosts: Vec<String>,
    /// The same, the system's files.
    pub system_known_hosts: Vec<String>,
    /// Ciphers to offer, the first one preferred.
    pub ciphers: Option<String>,
    /// What leads there, where the connection is not made directly.
    pub proxy: Option<String>,
}

impl Settings {
    /// Reads the output of `ssh -G`.
    pub fn parse(text: &str) -> Self {
        let mut settings = Self { port: 22, ..Self::default() };
        for line in text.lines() {
            let Some((name, value)) = line.split_once(' ') else { continue };
            if name == "ciphers" {
                settings.ciphers = Some(value.to_owned());
                continue;
            }
            let value = clip(value);
            let files = || value.split_whitespace().map(str::to_owned).collect();
            match name {
                "user" => settings.user = value,
                "hostname" => settings.hostname = value,
                "port" => settings.port = value.parse().unwrap_or(22),
                "hostkeyalias" => settings.alias = Some(value),
                "identityfile" => settings.keys.push(value),
                "userknownhostsfile" => settings.known_hosts = files(),
                "globalknownhostsfile" => settings.system_known_hosts = files(),
                "proxyjump" | "proxycommand" if value != "none" => settings.proxy = Some(value),
                _ => {}
            }
        }
        settings
    }

    /// The name of its key in known hosts.
    pub fn known_as(&self) -> String {
        match (&self.alias, self.port) {
            (Some(alias), _) => alias.clone(),
            (None, 22) => self.hostname.clone(),
            (None, port) => format!("[{}]:{port}", self.hostname),
        }
    }
}

fn clip(text: &str) -> String {
    text.trim().chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_a_host_are_read() {
        let settings = Settings::parse(
            "user eva\nhostname 192.0.2.7\nport 2222\nidentityfile ~/.ssh/a\nidentityfile /k b\n\
             userknownhostsfile /root/.ssh/known_hosts /root/.ssh/known_hosts2\nglobalknownhostsfile /etc/ssh/known\nciphers a,b\nproxycommand none\nproxyjump gate\n",
        );
        assert_eq!((settings.user.as_str(), settings.port), ("eva", 2222));
        assert_eq!(settings.known_as(), "[192.0.2.7]:2222");
        assert_eq!(settings.keys, ["~/.ssh/a", "/k b"]);
        assert_eq!(settings.known_hosts.len(), 2);
        assert_eq!(settings.system_known_hosts, ["/etc/ssh/known"]);
        assert_eq!(settings.ciphers.as_deref(), Some("a,b"));
        assert_eq!(settings.proxy.as_deref(), Some("gate"));
        assert_eq!(Settings::parse("hostname h\nhostkeyalias other\nport 9").known_as(), "other");
        assert_eq!(Settings::parse("hostname h").known_as(), "h");
    }
}
