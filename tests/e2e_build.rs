//! Stock `nix build` through the endpoint, where nothing goes wrong.

mod support;

use support::faults::Faults;
use support::{After, What, When};
use support::{Builder, Drv, Stage};

fn stock(when: When, what: What) {
    let Some(stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], "") else { return };
    let line = format!(
        "ssh-ng://localhost?remote-program={}&remote-store={} x86_64-linux - 2 1",
        Faults::program().display(),
        stage.path("b1").display()
    );
    let fault = stage.faults.arm(when, what, After::Back);
    let src = stage.path("src");
    std::fs::write(&src, format!("{}@@upload@@{}", "x".repeat(300_000), "y".repeat(300_000))).unwrap();
    let o = stage.build_with(
        &[Drv::new("victim", "echo hello; echo \"@@\"log@@; (cat $src; echo @@output@@; cat $src) > $out")
            .with("src", &src.display().to_string())],
        &line,
        &[],
    );
    let hit = stage.faults.struck(&fault);
    println!("{}", stage.faults.log());
    let out = o.wait_within(std::time::Duration::from_secs(5));
    println!("{hit} {:?}\n{}", out.code, out.terminal);
}

#[test]
fn u() {
    stock(When::Upload, What::Die)
}
#[test]
fn s() {
    stock(When::Start, What::Die)
}
#[test]
fn l() {
    stock(When::Log, What::Die)
}
#[test]
fn e() {
    stock(When::End, What::Die)
}
#[test]
fn o() {
    stock(When::Output, What::Die)
}
#[test]
fn hn() {
    stock(When::Handshake, What::Nonsense)
}
#[test]
fn hf() {
    stock(When::Log, What::FloodLine)
}
#[test]
fn oc() {
    stock(When::Output, What::Corrupt)
}
#[test]
fn ot() {
    stock(When::Output, What::Truncate)
}
