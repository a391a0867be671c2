use std::fs;

use super::*;
use crate::domain::System;

/// A fake `/etc/nix` and runtime directory.
struct Etc {
    dir: tempfile::TempDir,
}

impl Etc {
    fn new(files: &[(&str, &str)]) -> Self {
        let etc = Self { dir: tempfile::tempdir().expect("a directory") };
        for (name, text) in files {
            etc.write(name, text);
        }
        etc
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("text").to_owned()
    }

    /// `ETC/` stands for the directory.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text.replace("ETC/", &self.path(""))).expect("room");
    }

    fn source(&self, adopt: bool) -> MachinesSource {
        MachinesSource {
            files: NixFiles { dir: self.dir.path().to_owned(), user: Vec::new() },
            ours: Ours { machines_file: self.path("ours").into(), program: "/usr/bin/muster".into() },
            default_system: System::parse("x86_64-linux").expect("a system"),
            adopt,
        }
    }

    fn look_with(&self, adopt: bool) -> Look {
        look(&self.source(adopt))
    }

    fn look(&self) -> Look {
        self.look_with(true)
    }
}

fn names(look: &Look) -> Vec<&str> {
    look.adopted.iter().map(|builder| builder.spec.name.as_str()).collect()
}

const SECTION: &str = "# BEGIN muster\nbuilders = @ETC/ours\n# END muster\n";

#[test]
fn without_a_setting_nix_reads_its_own_machines_file() {
    let etc = Etc::new(&[(
        "machines",
        "ssh-ng://eva@b1 x86_64-linux,i686-linux - 4 2.5 kvm,big-parallel kvm\nb2\n",
    )]);
    let look = etc.look();
    assert_eq!(names(&look), ["b1", "b2"]);
    assert!(look.reads_machines && !look.reads_ours && look.builds_locally);
    let [first, second] = [&look.adopted[0].spec, &look.adopted[1].spec];
    assert_eq!(first.systems.as_ref().map(BTreeSet::len), Some(2));
    assert_eq!((first.slots.map(u32::from), first.speed_factor), (Some(4), Some(2.5)));
    assert_eq!((first.features.as_ref().map(BTreeSet::len), first.mandatory.len()), (Some(2), 1));
    let given = (&second.systems, &second.features, &second.slots, &second.speed_factor);
    assert_eq!(given, (&None, &None, &None, &None), "what is left open is measured");
}

#[test]
fn keys_of_a_line_become_part_of_the_way_to_its_builder() {
    let key = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSURuQ1FYbGxsSG9MWDVFdlUrdDZ5UC9ucHNtdXhLdDBza0hWZUphc2hpekU=";
    let etc = Etc::new(&[("machines", &format!("ssh-ng://b1?compress=true - /root/.ssh/k - - - - {key}\n"))]);
    let BuilderUri::Ssh(uri) = &etc.look().adopted[0].uri else { panic!("ssh") };
    assert_eq!(uri.key.as_deref(), Some(Path::new("/root/.ssh/k")));
    assert!(uri.host_key.is_some() && uri.compress);
}

#[test]
fn the_tutorials_line_is_adopted_without_the_quotes_of_its_shell() {
    let line = "builders = ssh-ng://remotebuild@remotebuilder \"x86_64-linux\" /root/.ssh/remotemachine - - nixos-test,big-parallel,kvm\nbuilders-use-substitutes = true\n";
    let look = Etc::new(&[("nix.conf", line)]).look();
    assert_eq!(names(&look), ["remotebuilder"]);
    let systems: Vec<_> = look.adopted[0].spec.systems.iter().flatten().map(System::as_str).collect();
    assert_eq!(systems, ["x86_64-linux"]);
    assert_eq!(look.warnings.len(), 1);
    let warning = &look.warnings[0];
    assert!(warning.contains("nix.conf:1: builders: ") && warning.contains("(field systems)"), "{warning}");
    assert!(!look.reads_machines);
}

#[test]
fn lines_that_muster_cannot_serve_are_foreign_word_for_word() {
    let foreign = [
        "ssh-ng://localhost?remote-store=local%3Froot%3D/srv/x x86_64-linux",
        "ssh-ng://b1 x86_64-linux - 0",
        "ssh-ng://b1?max-connections=7   x86_64-linux",
        "file:///srv/x",
        "local",
    ];
    let text: String = foreign.iter().map(|line| format!("{line} # odd\n")).collect();
    let look = Etc::new(&[("machines", &text)]).look();
    assert_eq!((look.foreign.as_slice(), names(&look).len()), (&foreign.map(str::to_owned)[..], 0));
}

#[test]
fn lines_of_our_own_are_neither_adopted_nor_kept() {
    let ours = "ssh-ng://localhost?remote-program=/usr/bin/muster&remote-store=x-1 x86_64-linux - 3\n";
    let other = "ssh-ng://localhost?remote-program=/opt/muster&remote-store=x-1 x86_64-linux - 3\n";
    let etc = Etc::new(&[("machines", &format!("b1\n{ours}{other}"))]);
    let look = etc.look();
    assert_eq!((names(&look), look.foreign.len()), (vec!["b1"], 0));
    etc.write("machines", "b1\n# BEGIN muster\nssh-ng://b2\n# END muster\nb3 \"x\n");
    let look = etc.look();
    assert_eq!(names(&look), ["b1", "b3"], "a section of ours is none of theirs");
    assert!(look.warnings[0].contains("machines:5: "), "{:?}", look.warnings);
}

#[test]
fn after_the_setup_what_was_there_before_is_still_known() {
    let etc = Etc::new(&[("nix.conf", SECTION), ("machines", "b1\nlocal\n"), ("ours", "x\n")]);
    let look = etc.look();
    assert!(look.reads_ours && !look.reads_machines);
    assert_eq!((names(&look), look.foreign.as_slice()), (vec!["b1"], &["local".to_owned()][..]));
    let look = etc.look_with(false);
    assert_eq!((names(&look).len(), look.foreign.len()), (0, 2), "where nothing is adopted all is kept");

    etc.write("nix.conf", &format!("builders = b2 ; @ETC/machines\n{SECTION}"));
    assert_eq!(names(&etc.look()), ["b2", "b1"]);
}

#[test]
fn what_a_person_lets_nix_read_beside_our_file_is_left_to_nix() {
    let etc = Etc::new(&[("nix.conf", "builders = @ETC/ours ; @ETC/machines\n"), ("machines", "b1\n")]);
    let look = etc.look();
    assert!(look.reads_ours && look.reads_machines);
    assert_eq!(look.adopted.len() + look.foreign.len(), 0);
    etc.write("nix.conf", "builders = @ETC/ours\n");
    assert_eq!(names(&etc.look()), ["b1"], "nobody else reads it");
}

#[test]
fn a_bad_line_spoils_no_other_and_is_named_with_its_field() {
    let look = Etc::new(&[("machines", "b1\nb2 x86_64-linux - many\n")]).look();
    assert_eq!(names(&look), ["b1"]);
    assert!(look.foreign.is_empty(), "what is malformed is never passed on");
    let warning = &look.warnings[0];
    assert!(warning.contains("machines:2: ") && warning.contains("(field max-jobs)"), "{warning}");
}

#[test]
fn two_files_without_a_semicolon_between_them_are_warned_of() {
    let etc = Etc::new(&[("nix.conf", "builders = @ETC/machines @ETC/ours\n"), ("machines", "b1\n")]);
    let look = etc.look();
    assert!(!look.reads_ours && !look.reads_machines && look.adopted.is_empty(), "so does Nix");
    assert!(
        look.warnings[0].contains("nix.conf:1: builders: ") && look.warnings[0].contains("';'"),
        "{look:?}"
    );
}

#[test]
fn builders_on_one_host_have_names_of_their_own() {
    let look =
        Etc::new(&[("machines", "eva@b1\nssh://ann@b1:22\nssh-ng://ann@b1:22?compress=true\n")]).look();
    assert_eq!(names(&look), ["b1", "ann@b1:22", "ann@b1:22-2"]);
}

#[test]
fn an_ordinary_users_own_files_come_on_top() {
    let etc = Etc::new(&[("nix.conf", "builders = b1\n"), ("mine.conf", "builders = b2\nmax-jobs = 0\n")]);
    let mut source = etc.source(true);
    assert_eq!(names(&look(&source)), ["b1"]);
    source.files.user.push(etc.path("mine.conf").into());
    let look = look(&source);
    assert_eq!((names(&look), look.builds_locally), (vec!["b2"], false));
}

#[test]
fn nix_s_own_limit_says_whether_it_builds_here() {
    assert!(!Etc::new(&[("nix.conf", "max-jobs = 0\n")]).look().builds_locally);
    assert!(Etc::new(&[("nix.conf", "max-jobs = auto\n")]).look().builds_locally);
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_and_nothing_else() {
    let etc = Etc::new(&[("machines", "b1\n")]);
    let (tell, mut told) = tokio::sync::mpsc::channel(10);
    let source = etc.source(true);
    let watching = watch(source, |report| async { tell.send(report).await.expect("heard") });
    let hearing = async {
        for expected in [vec!["b1"], vec!["b1", "b2"]] {
            let Some(Report::Known(Rank::Machines, builders)) = told.recv().await else { panic!("builders") };
            let names: Vec<_> = builders.iter().map(|builder| builder.spec.name.as_str()).collect();
            assert_eq!(names, expected);
            assert!(matches!(told.recv().await, Some(Report::Nix(_))));
            etc.write("machines", "b1\nb2\n");
        }
        tokio::time::sleep(LOOK_EVERY * 3).await;
        assert!(told.try_recv().is_err(), "nothing has changed");
    };
    tokio::select! {
        () = watching => {}
        () = hearing => {}
    }
}
