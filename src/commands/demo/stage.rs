//! Where the demo plays: one private directory with a store for the client and one for each builder.
//!
//! Nothing of the machine's own Nix is used but its programs: configuration, stores, sockets, temporary files and the
//! home directory lie below the private directory, and every program gets an environment of our making.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::graph;
use crate::edge::program::Program;
use crate::edge::scratch::Scratch;
use crate::edge::tools;
use crate::edge::tree::Belonging;

/// The builders and their slots.
pub const BUILDERS: [(&str, u32); 3] = [("large", 4), ("medium", 2), ("small", 1)];

/// The one that loses its power.
pub const VICTIM: &str = "large";

/// What Nix must know, and no more; everything works as root and as anybody else.
const NIX_CONF: &str = "\
substituters =
experimental-features = nix-command
build-users-group =
sandbox = true
sandbox-fallback = false
";

/// Proves that Nix can build here at all, before anything else is tried.
const TRIAL: &str = r#"derivation {
  name = "trial";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [ "-euc" "sleep 0; echo x | sha256sum | cut -c 1-64 > $out" ];
}
"#;

/// The machine's programs that the demo plays with.
pub struct Tools {
    nix: PathBuf,
    nix_daemon: PathBuf,
    busybox: PathBuf,
    muster: PathBuf,
}

/// The directory and what is in it.
pub struct Stage {
    scratch: Scratch,
    tools: Tools,
}

impl Tools {
    /// Finds them, or says how to get them.
    pub fn find(muster: &Path) -> anyhow::Result<Self> {
        if cfg!(not(target_os = "linux")) {
            bail!("the demo needs Linux: only there can Nix build in a store of one's own");
        }
        let first = |name: &str| {
            let found = tools::find(name).into_iter().next();
            found.with_context(|| {
                format!("there is no '{name}' on PATH: install Nix (`apt install nix-bin`, or https://nixos.org/download)")
            })
        };
        let busybox = tools::find("busybox").into_iter().chain(tools::find("busybox-static"));
        let busybox = busybox.into_iter().find(|program| tools::is_static(program)).context(
            "there is no static busybox on PATH, which is the shell of the demo's builds: `apt install busybox-static`, \
             or `nix shell nixpkgs#pkgsStatic.busybox -c muster demo`",
        )?;
        Ok(Self { nix: first("nix")?, nix_daemon: first("nix-daemon")?, busybox, muster: muster.to_owned() })
    }
}

impl Stage {
    /// Makes it: a temporary one, or this new directory, which stays.
    pub fn set(tools: Tools, keep: Option<&Path>) -> anyhow::Result<Self> {
        let scratch = match keep {
            Some(path) => Scratch::kept(path)?,
            None => Scratch::temporary("muster-demo-")?,
        };
        for name in ["conf", "home", "tmp", "run", "state", "trial", "client", "bin"] {
            scratch.dir(name)?;
        }
        scratch.file(
            "conf/nix.conf",
            &format!("{NIX_CONF}sandbox-paths = /bin/sh={}\n", tools.busybox.display()),
        )?;
        scratch.file("trial.nix", TRIAL)?;
        scratch.file("graph.nix", &graph::expression(&graph::graph()))?;
        scratch.link("bin/nix-daemon", &tools.nix_daemon)?;
        for (name, _) in BUILDERS {
            scratch.dir(&format!("builders/{name}"))?;
            scratch.link(&program_of(name), &tools.nix_daemon)?;
        }
        let stage = Self { scratch, tools };
        stage.scratch.file("muster.toml", &stage.configuration())?;
        Ok(stage)
    }

    fn configuration(&self) -> String {
        let at = self.path().display();
        let mut text =
            format!("local_store = \"local?root={at}/client\"\nnix_daemon = \"{at}/bin/nix-daemon\"\n");
        for (name, slots) in BUILDERS {
            let uri = format!("process:{at}/builders/{name}?program={at}/{}", program_of(name));
            text += &format!("\n[[builder]]\nuri = \"{uri}\"\nslots = {slots}\n");
        }
        // Nix asks for everything at once, and what cannot run yet waits for a builder.
        text + "\n[endpoint]\nlocal = \"never\"\n"
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The files in it.
    pub fn files(&self) -> &Scratch {
        &self.scratch
    }

    /// The coordinator's control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.path().join("run/control.sock")
    }

    /// A nix-daemon that serves any of the stores, and their URIs.
    pub fn nix_daemon(&self) -> PathBuf {
        self.path().join("bin/nix-daemon")
    }

    /// A store's URI: `client`, or a builder's name after `builders/`.
    pub fn store(&self, dir: &str) -> String {
        format!("local?root={}/{dir}", self.path().display())
    }

    /// `muster coordinator`
    pub fn coordinator(&self) -> Program {
        let at = |name: &str| self.path().join(name).into_os_string();
        let words = [
            ("coordinator".into(), None),
            ("--config".into(), Some(at("muster.toml"))),
            ("--runtime-dir".into(), Some(at("run"))),
            ("--state-dir".into(), Some(at("state"))),
        ];
        let words = words
            .into_iter()
            .flat_map(|(word, value): (OsString, _)| [Some(word), value])
            .flatten()
            .collect();
        self.program(&self.tools.muster, words, "coordinator.log")
    }

    /// The `nix build` of the client, as any user would type it.
    pub fn client(&self) -> Program {
        let machines = format!("@{}/run/machines", self.path().display());
        let words = ["--max-jobs", "0", "--builders", &machines, "--print-build-logs"];
        self.build("client", "graph.nix", &[&words[..], &["release"]].concat(), "client.log")
    }

    /// A build without builders.
    pub fn trial(&self) -> Program {
        self.build("trial", "trial.nix", &["--max-jobs", "1", "--builders", ""], "trial.log")
    }

    fn build(&self, store: &str, file: &str, words: &[&str], log: &str) -> Program {
        let file = self.path().join(file).into_os_string();
        let mut all: Vec<OsString> =
            ["build", "--no-link", "--store", &self.store(store), "--file"].map(Into::into).into();
        all.push(file);
        all.extend(words.iter().map(Into::into));
        self.program(&self.tools.nix, all, log)
    }

    fn program(&self, path: &Path, words: Vec<OsString>, log: &str) -> Program {
        let at = |name: &str| self.path().join(name).into_os_string();
        let dirs = tools::search_path().into_iter().map(PathBuf::into_os_string);
        let environment = vec![
            ("PATH", dirs.collect::<Vec<_>>().join(std::ffi::OsStr::new(":"))),
            ("HOME", at("home")),
            ("TMPDIR", at("tmp")),
            ("NIX_CONF_DIR", at("conf")),
            ("NIX_USER_CONF_FILES", OsString::new()),
            // Its words may be shown in the middle of ours.
            ("TERM", "dumb".into()),
        ];
        Program { path: path.to_owned(), words, environment, log: self.path().join(log) }
    }

    /// Takes a builder's program away, so that it cannot come back.
    pub fn unplug(&self, builder: &str) -> anyhow::Result<()> {
        Ok(self.scratch.take_away(&program_of(builder))?)
    }

    /// The processes of one builder.
    pub fn processes_of(&self, builder: &str) -> Belonging {
        let dir = format!("builders/{builder}");
        Belonging { words: vec![self.store(&dir)], root: self.path().join(dir) }
    }

    /// The processes of all that plays here.
    pub fn processes(&self) -> Belonging {
        let at = self.path().display().to_string();
        // In a machines line the socket's path is percent-encoded.
        let sockets = ["%2F", "%2f"].map(|slash| format!("{at}/run/").replace('/', slash));
        let words = [self.store(""), format!("{at}/muster.toml")].into_iter().chain(sockets).collect();
        Belonging { words, root: self.path().to_owned() }
    }

    /// Removes the directory, unless it is to be kept.
    pub fn strike(self) -> anyhow::Result<()> {
        Ok(self.scratch.remove()?)
    }
}

/// A link to the machine's nix-daemon, for one builder alone.
fn program_of(builder: &str) -> String {
    format!("builders/{builder}/nix-daemon")
}
