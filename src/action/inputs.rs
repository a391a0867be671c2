//! The action's inputs: the job's environment, read once into types. What makes no sense is refused with the input's name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What GitHub says to a step, and the inputs as `INPUT_NAME`.
pub type Job = BTreeMap<String, String>;

/// Which input makes no sense, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{input}: {problem}")]
pub struct BadInput {
    /// The input's name.
    pub input: &'static str,
    /// What is wrong, and the way out.
    pub problem: String,
}

/// What this job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It builds for a coordinator.
    Builder,
    /// It asks for builds.
    Coordinator,
}

/// A text that no log and no command line may hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes it.
    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text itself, for a pipe.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How the job proves to the tailnet who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// By an auth key or an OAuth client's secret.
    Key(Secret),
    /// By GitHub's own word (workload identity).
    Workload {
        /// The federated identity.
        client_id: String,
        /// Whom GitHub's token is for.
        audience: String,
    },
}

/// Which machines are the coordinator's builders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Builders {
    /// Those with these names.
    Listed(Vec<String>),
    /// Those with the tag and the beginning of the name, as far as they are said.
    Discovered {
        /// A tag of the tailnet.
        tag: Option<String>,
        /// The beginning of their names.
        prefix: Option<String>,
    },
}

/// Whether software that comes with the runner is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Where little is free.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// How much the log of the action's own steps holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMode {
    /// All of it, folded below a title for each part.
    Grouped,
    /// All of it, open.
    Normal,
    /// Warnings, errors, and what was said by whatever failed.
    Quiet,
}

impl LogMode {
    const CHOICES: [(&'static str, Self); 3] =
        [("grouped", Self::Grouped), ("normal", Self::Normal), ("quiet", Self::Quiet)];

    /// As the job says; where that is nonsense, which the first step refuses, the default.
    pub fn of(job: &Job) -> Self {
        Reader(job).one_of("log_mode", &Self::CHOICES).unwrap_or(Self::Grouped)
    }
}

/// The inputs of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// What the job is.
    pub role: Role,
    /// The name to register; `tailscale_hostname`.
    pub hostname: String,
    /// The tags to ask for; `tailscale_tags`.
    pub tags: Vec<String>,
    /// None where there is no secret and the job shall go on by itself.
    pub auth: Option<Auth>,
    /// Another control server than Tailscale's.
    pub login_server: Option<String>,
    /// Of a coordinator.
    pub builders: Option<Builders>,
    /// Whom a coordinator logs in as, and a builder expects.
    pub user: String,
    /// One of these tags a coordinator must have to claim a builder; where there are none, the tailnet's policy alone says.
    pub coordinator_tags: Vec<String>,
    /// How long a builder waits for its first coordinator.
    pub builder_timeout: Duration,
    /// Whether a builder that nobody came for fails.
    pub fail_on_timeout: bool,
    /// How long a builder outlives its coordinator.
    pub lease_timeout: Duration,
    /// How long a builder serves at most.
    pub max_lifetime: Duration,
    /// How long a coordinator waits for its builders.
    pub wait: Duration,
    /// How many it needs once that is over; none: all that are listed.
    pub min_builders: Option<usize>,
    /// Builds at once of a builder; none: as measured.
    pub max_jobs: Option<u32>,
    /// Lines for nix.conf, after all others.
    pub extra_nix_config: String,
    /// Whether to make room.
    pub maximize_disk: Disk,
    /// Whether a summary is written.
    pub summary: bool,
}

/// The inputs of an action's own steps come as one JSON object, `MUSTER_INPUTS`; GitHub gives those of a nested action as
/// `INPUT_NAME`. Both become the latter.
pub fn spread(mut job: Job) -> Result<Job, BadInput> {
    let Some(text) = job.remove("MUSTER_INPUTS") else { return Ok(job) };
    let inputs: BTreeMap<String, String> = serde_json::from_str(&text)
        // Its words may quote what it has read.
        .map_err(|_| bad("MUSTER_INPUTS", "it is no JSON object of texts"))?;
    job.extend(inputs.into_iter().map(|(name, value)| (format!("INPUT_{}", name.to_uppercase()), value)));
    Ok(job)
}

/// Reads inputs by their names.
struct Reader<'a>(&'a Job);

impl Reader<'_> {
    fn text(&self, name: &'static str) -> &str {
        self.0.get(&format!("INPUT_{}", name.to_uppercase())).map_or("", |text| text.trim())
    }

    fn some(&self, name: &'static str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn needed(&self, name: &'static str, problem: &str) -> Result<String, BadInput> {
        self.some(name).ok_or_else(|| BadInput { input: name, problem: problem.to_owned() })
    }

    fn number<T: FromStr>(&self, name: &'static str, what: &str) -> Result<Option<T>, BadInput> {
        let Some(text) = self.some(name).filter(|text| text != "auto") else { return Ok(None) };
        text.parse().map(Some).map_err(|_| bad(name, format!("'{text}' is not {what}")))
    }

    fn seconds(&self, name: &'static str, default: u32) -> Result<Duration, BadInput> {
        let seconds: Option<u32> = self.number(name, "a number of seconds")?;
        match seconds.unwrap_or(default) {
            0 => Err(bad(name, "0 seconds are too few")),
            seconds => Ok(Duration::from_secs(seconds.into())),
        }
    }

    fn one_of<T: Copy>(&self, name: &'static str, choices: &[(&str, T)]) -> Result<T, BadInput> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(choices[0].1);
        }
        let found = choices.iter().find(|(word, _)| *word == text);
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        found
            .map(|(_, choice)| *choice)
            .ok_or_else(|| bad(name, format!("'{text}' is none of {}", words.join(", "))))
    }

    fn auth(&self) -> Result<Option<Auth>, BadInput> {
        if let Some(key) = self.some("tailscale_authkey") {
            if key.chars().any(char::is_whitespace) {
                return Err(bad("tailscale_authkey", "there is white space within it: it is no key"));
            }
            return Ok(Some(Auth::Key(Secret(key))));
        }
        if let Some(client_id) = self.some("oauth_client_id") {
            let audience = self.needed("audience", "workload identity needs the audience of the token")?;
            if !self.0.contains_key("ACTIONS_ID_TOKEN_REQUEST_URL") {
                return Err(bad(
                    "oauth_client_id",
                    "GitHub gives this job no token: add `permissions: id-token: write`",
                ));
            }
            return Ok(Some(Auth::Workload { client_id, audience }));
        }
        if self.one_of("on_missing_auth", &[("fail", false), ("local", true)])? {
            return Ok(None);
        }
        Err(bad(
            "tailscale_authkey",
            "it is empty. Is the repository's secret set, and passed on? Pull requests from forks get no secrets: for them \
             set `on_missing_auth: local`, and the job builds by itself",
        ))
    }

    fn tags(&self, name: &'static str) -> Result<Vec<String>, BadInput> {
        let said = self.text(name).split([',', ' ', '\n']).filter(|tag| !tag.is_empty());
        let tags: Vec<_> = said.map(str::to_owned).collect();
        tags.iter().try_for_each(|tag| check_tag(name, tag))?;
        Ok(tags)
    }

    /// The seed's two tags belong together; of others nobody here knows which coordinators have.
    fn coordinator_tags(&self, own: &[String]) -> Result<Vec<String>, BadInput> {
        match self.text("coordinator_tags") {
            "" | "auto" if own.iter().any(|tag| tag == "tag:nix-ci-builder") => {
                Ok(vec!["tag:nix-ci-coordinator".to_owned()])
            }
            "" | "auto" | "any" => Ok(Vec::new()),
            _ => self.tags("coordinator_tags"),
        }
    }

    fn user(&self) -> Result<String, BadInput> {
        let user = self.some("user").unwrap_or_else(|| "root".to_owned());
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if user.len() <= 32
            && user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && user.chars().all(good)
        {
            return Ok(user);
        }
        Err(bad(
            "user",
            format!("{user:?} is no user of a runner: it is root unless said otherwise, or runner"),
        ))
    }

    /// These are for other steps; a word that none of them knows must not pass for the one that does nothing.
    fn check_words(&self) -> Result<(), BadInput> {
        for (name, words) in [
            ("cache", &["magic-nix-cache", "hestia", "none"][..]),
            ("install_nix", &["auto", "never"]),
            ("muster", &["release", "nix"]),
        ] {
            let choices: Vec<_> = words.iter().map(|word| (*word, ())).collect();
            self.one_of(name, &choices)?;
        }
        self.one_of("log_mode", &LogMode::CHOICES).map(drop)
    }

    fn builders(&self) -> Result<Option<Builders>, BadInput> {
        let mut listed: Vec<String> = Vec::new();
        for name in self.text("builders").split_whitespace().map(str::to_owned) {
            if !listed.contains(&name) {
                listed.push(name);
            }
        }
        for name in &listed {
            check_name("builders", name)?;
        }
        let (tag, prefix) = (self.some("discover_tag"), self.some("discover_prefix"));
        if let Some(tag) = &tag {
            check_tag("discover_tag", tag)?;
        }
        Ok(match (listed.is_empty(), &tag, &prefix) {
            (true, None, None) => None,
            (true, _, _) => Some(Builders::Discovered { tag, prefix }),
            (false, None, None) => Some(Builders::Listed(listed)),
            (false, _, _) => {
                return Err(bad(
                    "builders",
                    "say either the names, or discover_tag and discover_prefix, not both",
                ));
            }
        })
    }
}

impl Inputs {
    /// Reads and checks all of them.
    pub fn read(job: &Job) -> Result<Self, BadInput> {
        let reader = Reader(job);
        let role =
            reader.one_of("role", &[("builder", Role::Builder), ("coordinator", Role::Coordinator)])?;
        let hostname =
            reader.needed("tailscale_hostname", "it is empty; it names this machine in the tailnet")?;
        check_name("tailscale_hostname", &hostname)?;
        reader.needed("tailscale_tags", "it is empty; it says what this machine may do in the tailnet")?;
        let tags = reader.tags("tailscale_tags")?;
        reader.check_words()?;
        let builders = reader.builders()?;
        if role == Role::Coordinator && builders.is_none() {
            let problem =
                "a coordinator needs the host names of its builders, or discover_tag or discover_prefix";
            return Err(bad("builders", problem));
        }
        let min_builders = reader.number("min_builders", "a number of builders")?;
        if let (Some(Builders::Listed(names)), Some(least)) = (&builders, min_builders)
            && least > names.len()
        {
            return Err(bad("min_builders", format!("{least} of {} builders cannot come", names.len())));
        }
        Ok(Self {
            role,
            hostname,
            user: reader.user()?,
            coordinator_tags: reader.coordinator_tags(&tags)?,
            tags,
            auth: reader.auth()?,
            login_server: reader.some("login_server"),
            builders,
            builder_timeout: reader.seconds("builder_timeout", 300)?,
            fail_on_timeout: reader.one_of("on_timeout", &[("fail", true), ("pass", false)])?,
            lease_timeout: reader.seconds("lease_timeout", 45)?,
            max_lifetime: reader.seconds("max_lifetime", 21_000)?,
            wait: reader.seconds("wait", 300)?,
            min_builders,
            max_jobs: reader.number("max_jobs", "a number of builds")?,
            extra_nix_config: job.get("INPUT_EXTRA_NIX_CONFIG").cloned().unwrap_or_default(),
            maximize_disk: reader.one_of(
                "maximize_disk",
                &[("auto", Disk::Auto), ("always", Disk::Always), ("never", Disk::Never)],
            )?,
            summary: reader.one_of("summary", &[("true", true), ("false", false)])?,
        })
    }
}

pub(super) fn bad(input: &'static str, problem: impl Into<String>) -> BadInput {
    BadInput { input, problem: problem.into() }
}

/// A name that the tailnet makes a DNS label of, and that no shell, file or option takes for something else.
fn check_name(input: &'static str, name: &str) -> Result<(), BadInput> {
    const LONGEST: usize = 63;
    let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let problem = if name.len() > LONGEST {
        format!("'{name}' has {} characters, a host name has {LONGEST} at most", name.len())
    } else if !name.chars().all(good) {
        format!("{name:?} is no host name: use letters, digits, dashes, dots and underscores")
    } else if !ends(name.chars().next()) || !ends(name.chars().last()) {
        format!("'{name}' is no host name: it must begin and end with a letter or a digit")
    } else {
        return Ok(());
    };
    Err(bad(input, problem))
}

fn check_tag(input: &'static str, tag: &str) -> Result<(), BadInput> {
    let word = tag.strip_prefix("tag:").unwrap_or_default();
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if word.chars().next().is_some_and(|c| c.is_ascii_alphabetic()) && word.chars().all(good) {
        return Ok(());
    }
    Err(bad(input, format!("{tag:?} is no tag: it must look like tag:nix-ci-builder")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A good job of that role, with these inputs besides.
    pub(in crate::action) fn job(role: &str, inputs: &[(&str, &str)]) -> Job {
        let usual = [
            ("role", role),
            ("tailscale_authkey", "tskey-auth-k1"),
            ("tailscale_hostname", "nix-1-ubuntu-24.04-1"),
            ("tailscale_tags", "tag:nix-ci-builder"),
        ];
        let all = usual.iter().chain(inputs);
        all.map(|(name, value)| (format!("INPUT_{}", name.to_uppercase()), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults_are_those_of_the_action() {
        let inputs = Inputs::read(&job("builder", &[])).expect("good");
        assert_eq!(inputs.builder_timeout, Duration::from_secs(300));
        assert_eq!((inputs.wait, inputs.fail_on_timeout), (Duration::from_secs(300), true));
        assert_eq!(
            (inputs.role, inputs.maximize_disk, inputs.min_builders),
            (Role::Builder, Disk::Auto, None)
        );
        let inputs = Inputs::read(&job("", &[])).expect("good");
        assert_eq!(inputs.role, Role::Builder);
    }

    #[test]
    fn a_bad_input_is_refused_with_its_name_and_the_way_out() {
        let check = |role: &str, inputs: &[(&str, &str)], expected: &str| {
            let error = Inputs::read(&job(role, inputs)).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("worker", &[], "role: 'worker' is none of builder, coordinator");
        check(
            "coordinator",
            &[],
            "builders: a coordinator needs the host names of its builders, or discover_tag",
        );
        check("builder", &[("tailscale_authkey", "")], "tailscale_authkey: it is empty");
        check("builder", &[("tailscale_authkey", "a b")], "white space");
        check("builder", &[("tailscale_hostname", "")], "tailscale_hostname: it is empty");
        check("builder", &[("tailscale_hostname", "$(id)")], "\"$(id)\" is no host name");
        check("builder", &[("tailscale_hostname", "-x")], "begin and end");
        check("builder", &[("tailscale_hostname", &"x".repeat(64))], "64 characters");
        check("builder", &[("tailscale_tags", "nix")], "tailscale_tags: \"nix\" is no tag");
        check("builder", &[("tailscale_tags", "tag:a,tag:b c")], "\"c\" is no tag");
        check("builder", &[("coordinator_tags", "ci")], "coordinator_tags: \"ci\" is no tag");
        check("builder", &[("user", "-x")], "user: \"-x\" is no user of a runner");
        check("builder", &[("cache", "hestai")], "cache: 'hestai' is none of magic-nix-cache, hestia, none");
        check("builder", &[("install_nix", "no")], "install_nix: 'no' is none of auto, never");
        check("builder", &[("log_mode", "loud")], "log_mode: 'loud' is none of grouped, normal, quiet");
        check("builder", &[("builder_timeout", "5m")], "builder_timeout: '5m' is not a number of seconds");
        check("builder", &[("builder_timeout", "0")], "0 seconds are too few");
        check("coordinator", &[("builders", "a;b")], "builders: \"a;b\" is no host name");
        check("coordinator", &[("builders", "a b"), ("min_builders", "3")], "3 of 2 builders");
        check("coordinator", &[("builders", "a"), ("discover_tag", "tag:x")], "not both");
        check("builder", &[("tailscale_authkey", ""), ("oauth_client_id", "x")], "audience");
        let workload = [("tailscale_authkey", ""), ("oauth_client_id", "x"), ("audience", "y")];
        check("builder", &workload, "id-token: write");
    }

    #[test]
    fn without_a_secret_a_job_may_go_on_alone() {
        let inputs = job("builder", &[("tailscale_authkey", ""), ("on_missing_auth", "local")]);
        assert_eq!(Inputs::read(&inputs).expect("good").auth, None);
    }

    #[test]
    fn only_the_coordinators_of_the_seeds_tags_may_claim_a_builder_of_them() {
        let check = |inputs: &[(&str, &str)], expected: &[&str]| {
            let tags = Inputs::read(&job("builder", inputs)).expect("good").coordinator_tags;
            assert_eq!(tags, expected, "{inputs:?}");
        };
        check(&[], &["tag:nix-ci-coordinator"]);
        check(&[("coordinator_tags", "auto")], &["tag:nix-ci-coordinator"]);
        check(&[("coordinator_tags", "any")], &[]);
        check(&[("tailscale_tags", "tag:b")], &[]);
        check(&[("tailscale_tags", "tag:b"), ("coordinator_tags", "tag:a, tag:c")], &["tag:a", "tag:c"]);
    }

    #[test]
    fn names_may_have_dots_and_lists_any_white_space() {
        let inputs = job("coordinator", &[("builders", " b-ubuntu-24.04-1\n b_2 b_2")]);
        let builders = Inputs::read(&inputs).expect("good").builders;
        assert_eq!(builders, Some(Builders::Listed(vec!["b-ubuntu-24.04-1".into(), "b_2".into()])));
    }

    #[test]
    fn inputs_come_one_by_one_or_as_one_object() {
        let one = |name: &str, value: &str| Job::from([(name.to_owned(), value.to_owned())]);
        let spread_out =
            spread(one("MUSTER_INPUTS", r#"{"role":"builder","extra_nix_config":"a = b\nc = d"}"#));
        let mut expected = one("INPUT_ROLE", "builder");
        expected.extend(one("INPUT_EXTRA_NIX_CONFIG", "a = b\nc = d"));
        assert_eq!(spread_out, Ok(expected));
        assert_eq!(spread(one("INPUT_ROLE", "x")), Ok(one("INPUT_ROLE", "x")));
        let error = spread(one("MUSTER_INPUTS", r#"{"tailscale_authkey": tskey-1}"#)).expect_err("nonsense");
        assert!(!error.to_string().contains("tskey"), "{error}");
    }

    #[test]
    fn a_secret_shows_itself_to_nobody() {
        let inputs = Inputs::read(&job("builder", &[])).expect("good");
        assert!(!format!("{inputs:?}").contains("tskey"));
    }
}
